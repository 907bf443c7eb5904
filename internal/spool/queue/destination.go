package queue

import "time"

// destination is where mail goes: a domain or a next hop; or a domain whose mail
// all goes by some next hop. Times are nanoseconds since 1970.
type destination struct {
	name string
	why  string // what it last failed by

	ready, waiting, parked slot // heaps
	// How many entries there are, by what they count as.
	queued, deferred, held, busy uint32
	// addressed counts the entries whose recipient's domain it is, wherever
	// they go: its name is needed to select them.
	addressed uint32

	jobs  uint16 // attempts under way
	limit uint16 // of jobs, at present
	top   uint16 // of limit

	inRing  bool
	down    bool
	probing bool  // down, and one attempt is under way to see whether it still is
	fails   uint8 // probes in a row that found it down
	pauses  uint8 // Busy in a row that found no attempt to do without

	until    int64 // no attempt before
	downAt   int64 // since when it is down
	upAt     int64 // when it last answered
	shrunkAt int64 // when limit was last cut
	triedAt  int64 // when an attempt last began
	emptyAt  int64 // since when there is nothing for it; 0: there is

	timer    int64 // when it is to be looked at; 0 is never
	timerPos int32 // in the heap of timers, from 1; 0 is none

	earlier, later uint32 // in the list of those that are down, by downAt

	rate pace
}

// entries counts all of its recipients.
func (d *destination) entries() uint32 { return d.queued + d.deferred + d.held + d.busy }

// untried tells whether there is something that an attempt could be made for.
func (d *destination) untried() bool { return d.ready != 0 || d.down && d.parked != 0 }

// mayGo tells whether another attempt may begin, apart from what others take.
func (d *destination) mayGo(now int64) bool {
	switch {
	case !d.untried() || now < d.until:
		return false
	case d.down:
		return !d.probing
	}
	return d.jobs < d.limit
}

// heard takes in what the attempt of a task says about its destination.
func (m *machine) heard(now int64, t *task, h Health, why string) {
	d := m.dests[t.dest]
	if t.probe {
		d.probing = false
	}
	if h == Down && d.upAt > t.began {
		h = Busy // others got through since: it has merely had enough
	}
	if h == Busy || h == Down {
		d.why = why
	}
	switch h {
	case Up:
		m.answered(now, t.dest)
	case Busy:
		m.tooMuch(now, t)
	case Down:
		m.lost(now, t)
	case Unknown:
		if d.down && t.probe {
			d.until = now + m.backoff(d.fails)
		}
	}
	m.look(now, t.dest)
}

func (m *machine) answered(now int64, id uint32) {
	d := m.dests[id]
	d.upAt, m.upAt = now, now
	d.pauses = 0
	if d.down {
		m.back(now, id, restartLimit)
		return
	}
	d.until = 0
	d.limit = min(d.limit+1, d.top)
}

// back ends a destination's outage. All that it held up becomes due; what
// keeps it from going out at once is the limit, which begins small.
func (m *machine) back(now int64, id uint32, limit uint16) {
	d := m.dests[id]
	downAt := d.downAt
	m.unlist(id)
	d.down, d.fails, d.until = false, 0, 0
	d.limit = min(limit, d.top)
	parked := d.parked
	d.parked = 0
	m.t.scatter(parked, func(s slot, e *entry) {
		e.due, e.flags = 0, e.flags&^flagParked
		d.ready = m.t.push(ready, d.ready, s)
	})
	m.kin(now, downAt)
}

func (m *machine) tooMuch(now int64, t *task) {
	d := m.dests[t.dest]
	if d.down {
		m.back(now, t.dest, 1) // it speaks
	}
	if t.began < d.shrunkAt {
		return // of the same wave of attempts
	}
	d.shrunkAt = now
	if d.limit > 1 {
		d.limit /= 2
		return
	}
	d.pauses = min(d.pauses+1, 30)
	d.until = now + m.jitter(doubled(m.o.pause, d.pauses, pauseMax))
}

func (m *machine) lost(now int64, t *task) {
	d := m.dests[t.dest]
	switch {
	case !d.down:
		d.down, d.downAt, d.fails = true, now, 1
		d.limit = 1
		t.first = true
		m.enlist(t.dest)
	case t.probe:
		d.fails = min(d.fails+1, 30)
	default:
		return // it began before the outage was noticed
	}
	d.until = now + m.backoff(d.fails)
}

func (m *machine) backoff(fails uint8) int64 {
	return m.jitter(doubled(m.o.Backoff, max(fails, 1), m.o.BackoffMax))
}

// doubled is d, doubled for each time after the first, and never above limit.
func doubled(d time.Duration, times uint8, limit time.Duration) time.Duration {
	for ; times > 1 && d < limit; times-- {
		d *= 2
	}
	return min(d, limit)
}

// enlist and unlist keep the list of destinations that are down, the latest
// last. 0 is no destination.
func (m *machine) enlist(id uint32) {
	d := m.dests[id]
	d.earlier, d.later = m.downLast, 0
	if m.downLast != 0 {
		m.dests[m.downLast].later = id
	}
	m.downLast = id
	m.downs++
	if m.scoutAt == 0 {
		m.scoutAt = d.downAt + m.jitter(m.o.Backoff)
	}
}

func (m *machine) unlist(id uint32) {
	d := m.dests[id]
	if d.earlier != 0 {
		m.dests[d.earlier].later = d.later
	}
	if d.later != 0 {
		m.dests[d.later].earlier = d.earlier
	} else {
		m.downLast = d.earlier
	}
	d.earlier, d.later = 0, 0
	m.downs--
}

// kin has those tried soon that were lost not long before one that is back, or
// after it: a network may have come back, and each of them would otherwise
// find out by itself, up to BackoffMax later. One attempt each, one after the
// other, none sooner than Backoff after its last one.
func (m *machine) kin(now, downAt int64) {
	if now < m.kinAt {
		return
	}
	m.kinAt = now + int64(kinPause)
	gap := int64(min(kinGap, kinSpread/time.Duration(m.downs+1)))
	at := now
	for id := m.downLast; id != 0 && m.dests[id].downAt >= downAt-int64(kinWindow); id = m.dests[id].earlier {
		d := m.dests[id]
		if at += gap; d.until > at {
			d.until = min(d.until, max(at, d.triedAt+int64(m.o.Backoff)))
			m.look(now, id)
		}
	}
}

// scout has one destination tried before its time while it seems that a whole
// network is away: nothing has answered since the last loss, or several were
// lost of late. So its return is noticed within about a minute, however few
// destinations there are and however long it was.
func (m *machine) scout(now int64) {
	m.scoutAt = 0
	if m.downs == 0 {
		return
	}
	m.scoutAt = now + m.jitter(m.o.Backoff)
	var best uint32
	lately := 0
	for id := m.downLast; id != 0 && lately < scoutMax; id = m.dests[id].earlier {
		d := m.dests[id]
		if d.downAt < now-int64(scoutWindow) {
			break
		}
		lately++
		if !d.probing && d.untried() && d.triedAt+int64(m.o.Backoff) <= now &&
			(best == 0 || d.triedAt < m.dests[best].triedAt) {
			best = id
		}
	}
	suspect := lately >= scoutMin || m.upAt < m.dests[m.downLast].downAt
	if best == 0 || !suspect {
		return
	}
	if d := m.dests[best]; d.until > now {
		d.until = now
		m.look(now, best)
	}
}
