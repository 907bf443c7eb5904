package ban

import (
	"net/netip"
	"time"
	"unique"
)

// graceMax is how far the kernel's time of an element may be before ours when
// it is decided whether the element timed out or was taken away.
const graceMax = time.Second

// element is a source of a kernel's set and how long it will stay there.
type element struct {
	source netip.Prefix
	left   time.Duration
}

// network is a network of a kernel's set.
type network struct {
	prefix netip.Prefix
	left   time.Duration
}

// batch is what the kernel is to be told at once.
type batch struct {
	add   []element      // not in the set, as far as we know
	again []element      // in the set: their time starts afresh
	del   []netip.Prefix // to be taken out, if there
	nets  []network      // all networks, if setNets
	// setNets tells whether nets replaces what the sets of networks hold.
	setNets bool
}

func (b *batch) len() int { return len(b.add) + len(b.again) + len(b.del) }

func (b *batch) empty() bool { return b.len() == 0 && !b.setNets }

// mark notes that the kernel is to be told of a source. While the kernel is
// down only removals are kept: all else is found out when it is back.
func (m *machine) mark(p netip.Prefix) {
	switch m.link {
	case linkNone:
		return
	case linkDown:
		if m.bans.get(p) != nil {
			delete(m.dirty, p)
			return
		}
		if len(m.dirty) >= removedMax {
			return
		}
	}
	m.dirty[p] = struct{}{}
}

func (m *machine) markFixed() { m.fixedDirty = m.link != linkNone }

// pending tells whether the kernel is to be told anything now.
func (m *machine) pending() bool {
	return m.link == linkUp && (len(m.dirty) > 0 || m.fixedDirty)
}

// take gives the next batch.
func (m *machine) take(now time.Time) batch {
	var b batch
	if m.link != linkUp {
		return b
	}
	for p := range m.dirty {
		if b.len() >= batchMax {
			break
		}
		delete(m.dirty, p)
		s := m.bans.get(p)
		switch {
		case s == nil:
			b.del = append(b.del, p)
		case s.ended(now):
		case s.kernel:
			b.again = append(b.again, element{p, m.left(s, now)})
		default:
			b.add = append(b.add, element{p, m.left(s, now)})
		}
	}
	if m.fixedDirty {
		b.nets, b.setNets = m.ranges(now), true
		m.fixedDirty = false
	}
	return b
}

func (m *machine) left(s *slot, now time.Time) time.Duration {
	return min(time.Duration(s.until-now.UnixNano()), m.timeout)
}

// ranges gives the networks that the kernel is to hold: those banned by hand,
// each once, without what is exempt. A network that would fall into too many
// pieces is left to user space.
func (m *machine) ranges(now time.Time) []network {
	all := make([]netip.Prefix, 0, len(m.fixed.of))
	for p, e := range m.fixed.of {
		if e.Until.After(now) {
			all = append(all, p)
		}
		e.Kernel = false
	}
	var holes []netip.Prefix
	for p := range m.never.of {
		holes = append(holes, p)
	}
	m.exempt.all(func(s *slot) {
		p := s.source()
		if _, _, in := m.fixed.find(p.Addr(), func(*Entry) bool { return true }); in && !s.ended(now) {
			holes = append(holes, p)
		}
	})
	var out []network
	for _, p := range widest(all) {
		e := m.fixed.of[p]
		pieces, ok := without(nil, p, holes, rangesMax-len(out))
		if !ok {
			continue
		}
		e.Kernel = true
		for _, q := range pieces {
			out = append(out, network{q, e.Until.Sub(now)})
		}
	}
	for p, e := range m.fixed.of { // those within another are there with it
		if _, _, in := m.fixed.find(p.Addr(), func(w *Entry) bool { return w != e && w.Kernel }); in {
			e.Kernel = true
		}
	}
	return out
}

// told notes what became of a batch: on err all of it is to be said again.
func (m *machine) told(b batch, err error) {
	if err != nil {
		for _, e := range b.add {
			m.mark(e.source)
		}
		for _, e := range b.again {
			m.mark(e.source)
		}
		for _, p := range b.del {
			m.mark(p)
		}
		m.fixedDirty = m.fixedDirty || b.setNets
		return
	}
	for _, e := range b.add {
		if s := m.bans.get(e.source); s != nil {
			s.kernel = true
		}
	}
}

// due gives up to n sources that the kernel has and whose time is over,
// unless packets prolonged it there.
func (m *machine) due(now time.Time, n int) []element {
	var out []element
	m.bans.ended(now, func(s *slot) bool {
		if s.kernel {
			out = append(out, element{source: s.source()})
		}
		return len(out) < n
	})
	return out
}

// answered takes what the kernel said about sources that were due.
func (m *machine) answered(all []element, now time.Time) {
	for _, e := range all {
		s := m.bans.get(e.source)
		_, changed := m.dirty[e.source]
		switch {
		case s == nil || changed || !s.ended(now):
		case e.left > 0:
			m.bans.end(s, now.Add(e.left))
		default:
			m.bans.drop(e.source)
		}
	}
}

// sample gives up to n sources that the kernel must have.
func (m *machine) sample(now time.Time, n int) []element {
	var out []element
	for _, i := range m.bans.index { // in no order
		s := &m.bans.slots[i]
		p := s.source()
		if _, changed := m.dirty[p]; s.kernel && !changed && s.until > now.Add(graceMax).UnixNano() {
			out = append(out, element{source: p})
		}
		if len(out) >= n {
			break
		}
	}
	return out
}

// lost says that the kernel's sets are empty.
func (m *machine) lost() {
	m.bans.all(func(s *slot) {
		s.kernel = false
		m.mark(s.source())
	})
	m.markFixed()
}

// resay says again all that the kernel, as far as we know, does not have.
func (m *machine) resay() {
	m.bans.all(func(s *slot) {
		if !s.kernel {
			m.mark(s.source())
		}
	})
	m.markFixed()
}

// A reading compares the list with what the kernel's sets hold: begin, seen
// and seenNet for what is there, finish. Bans may be made and ended meanwhile.
type reading struct {
	began time.Time
	other string // the reason for what we did not put there
	nets  map[netip.Prefix]struct{}
}

func (m *machine) begin(now time.Time, other string) *reading {
	m.epoch++
	return &reading{began: now, other: other, nets: map[netip.Prefix]struct{}{}}
}

// seen says that a source is in the kernel's set.
func (m *machine) seen(r *reading, e element, now time.Time) {
	p := e.source
	if s := m.bans.get(p); s != nil {
		s.epoch, s.kernel = m.epoch, true
		if _, changed := m.dirty[p]; !changed {
			m.bans.end(s, now.Add(e.left))
		}
		return
	}
	if _, changed := m.dirty[p]; changed {
		return // on its way out
	}
	if m.spared(p, now) {
		m.dirty[p] = struct{}{}
		return
	}
	s := m.insert(p, now.Add(e.left))
	s.since, s.count, s.why = r.began.UnixNano(), 1, unique.Make(r.other)
	s.epoch, s.kernel = m.epoch, true
}

// seenNet says that a network is in the kernel's set.
func (m *machine) seenNet(r *reading, n network, now time.Time) {
	p, ok := normal(n.prefix)
	if !ok {
		return
	}
	r.nets[p] = struct{}{}
	if m.fixedDirty || n.left <= 0 || p.Bits() == 0 || len(m.fixed.of) >= fixedMax {
		return
	}
	for q := range m.fixed.of {
		if q.Overlaps(p) {
			return // ours, or a piece of ours
		}
	}
	if _, never := m.never.overlap(p); never {
		m.markFixed()
		return
	}
	m.fixed.set(p, &Entry{
		Prefix: p, Since: r.began, Until: now.Add(n.left), Why: r.other, Count: 1, Fixed: true, Kernel: true,
	})
}

// finish ends a reading of sources. It gives the bans that were not read
// although they must be there: they may have been passed over, since a set may
// be rearranged while it is read, and are to be asked about.
func (m *machine) finish(r *reading, now time.Time) (suspects []element) {
	m.bans.all(func(s *slot) {
		if s.epoch == m.epoch || s.since >= r.began.UnixNano() {
			return
		}
		if p := s.source(); !s.kernel {
			m.mark(p)
		} else if s.until > now.Add(graceMax).UnixNano() {
			suspects = append(suspects, element{source: p})
		}
	})
	return suspects
}

// finishNets ends a reading of networks, and gives how many were missing.
func (m *machine) finishNets(r *reading, now time.Time) (missing int) {
	if m.fixedDirty {
		return 0
	}
	want := m.ranges(now)
	for _, n := range want {
		if _, there := r.nets[n.prefix]; !there && n.left > graceMax {
			missing++
			m.markFixed()
		}
	}
	if len(want) < len(r.nets) {
		m.markFixed()
	}
	return missing
}

// missed notes which of the suspects the kernel does not have, so that they
// are put there again, and gives how many.
func (m *machine) missed(suspects []element) (n int) {
	for _, e := range suspects {
		s := m.bans.get(e.source)
		if e.left > 0 || s == nil || !s.kernel {
			continue
		}
		n++
		s.kernel = false
		m.mark(e.source)
	}
	return n
}
