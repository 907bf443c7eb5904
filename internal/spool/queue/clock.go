package queue

// turnBack takes in that the clock was set back: what was to happen in an hour
// is to happen in an hour still, and not when the clock is again where it was.
func (m *machine) turnBack(now, by int64) {
	back := func(ts ...*int64) {
		for _, t := range ts {
			if *t != 0 {
				*t = max(*t-by, 1)
			}
		}
	}
	back(&m.grace, &m.upAt, &m.kinAt, &m.scoutAt, &m.sweeper.at, &m.rate.at, &m.rate.begun)
	s := uint32(min(by/1e9, 1<<32-1))
	m.t.each(0, m.t.used, func(_ slot, e *entry) {
		e.due -= min(s, e.due)
		e.received = min(e.received, seconds(now))
	})
	for id, d := range m.dests {
		if d == nil {
			continue
		}
		back(&d.until, &d.downAt, &d.upAt, &d.shrunkAt, &d.triedAt, &d.emptyAt, &d.rate.at, &d.rate.begun)
		m.look(now, uint32(id))
	}
}
