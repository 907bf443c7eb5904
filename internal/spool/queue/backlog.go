package queue

import (
	"cmp"
	"slices"
	"time"
)

// linesMax is how many destinations a Backlog tells apart: more than anybody
// reads.
const linesMax = 1000

// pieceSlots is how many slots or destinations are looked at before attempts
// get their turn: a millisecond or two.
const pieceSlots = 1 << 14

// Backlog tells how far behind the queue is.
func (q *Queue) Backlog() Backlog {
	b, _ := q.backlog(linesMax)
	return b
}

// backlog tells of up to n destinations, and how many are down. It looks at
// everything, a piece at a time, so that attempts do not wait for it: what
// moves meanwhile may be counted where it was, or where it is.
func (q *Queue) backlog(n int) (Backlog, int) {
	q.takeIn()
	var c count
	q.pieces(func(from, upto int) bool {
		c.entries(q.m, from, upto)
		return upto < q.m.t.used
	})
	q.pieces(func(from, upto int) bool {
		c.destinations(q.m, q.now(), from, upto)
		return upto < len(q.m.dests)
	})
	others := max(0, len(c.lines)-n)
	c.lines = largest(c.lines, n)
	q.mu.Lock()
	defer q.mu.Unlock()
	b := c.backlog(q.m, q.now())
	b.Loading, b.Others = q.loading, others
	return b, q.m.downs
}

// pieces calls fn with the places of one piece after the other, as long as it
// says that there are more. It holds mu during each call, and not in between.
func (q *Queue) pieces(fn func(from, upto int) bool) {
	for from, more := 0, true; more; from += pieceSlots {
		q.mu.Lock()
		more = fn(from, from+pieceSlots)
		q.mu.Unlock()
	}
}

// count is a Backlog that is being made.
type count struct {
	total  Line
	oldest []uint32 // by destination
	lines  []sized
}

// sized is a destination by its size.
type sized struct {
	id      uint32
	entries uint32
	name    string
}

// entries looks for the oldest in some slots.
func (c *count) entries(m *machine, from, upto int) {
	if n := len(m.dests) - len(c.oldest); n > 0 {
		c.oldest = append(c.oldest, make([]uint32, n)...)
	}
	m.t.each(from, upto, func(_ slot, e *entry) {
		if o := &c.oldest[e.dest]; e.place != held && (*o == 0 || e.received < *o) {
			*o = e.received
		}
	})
}

// destinations adds up some destinations.
func (c *count) destinations(m *machine, now int64, from, upto int) {
	for id := from; id < min(upto, len(m.dests)); id++ {
		d := m.dests[id]
		if d == nil || d.entries() == 0 {
			continue
		}
		c.lines = append(c.lines, sized{uint32(id), d.entries(), d.name})
		t := &c.total
		t.Queued += int(d.queued)
		t.Deferred += int(d.deferred)
		t.Held += int(d.held)
		t.Active += int(d.busy)
		t.Oldest = sooner(t.Oldest, c.oldestOf(uint32(id)))
		t.Next = sooner(t.Next, m.nextTry(now, d))
	}
}

// oldestOf is when the oldest of a destination was received; zero if there is
// none, or if it is newer than the look at all entries.
func (c *count) oldestOf(id uint32) time.Time {
	if int(id) >= len(c.oldest) {
		return time.Time{}
	}
	return timeOf(nanos(c.oldest[id]))
}

// sooner is the earlier of two times; the zero Time is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// backlog makes it whole: with the lines that are left.
func (c *count) backlog(m *machine, now int64) Backlog {
	b := Backlog{At: timeOf(now), Total: c.total}
	b.Total.Rate = m.rate.perSecond(now)
	b.Total.Drain = drain(b.Total)
	b.Total.Limit = m.o.Workers
	for _, l := range c.lines {
		if d := m.dests[l.id]; d != nil && d.name == l.name {
			b.Destinations = append(b.Destinations, m.line(now, d, c.oldestOf(l.id)))
		}
	}
	return b
}

// largest gives the n destinations with the most entries, most first. It
// sorts only those that have as many as the last of them, or more.
func largest(all []sized, n int) []sized {
	if n <= 0 {
		return nil
	}
	if len(all) > n {
		sizes := make([]uint32, len(all))
		for i, l := range all {
			sizes[i] = l.entries
		}
		slices.Sort(sizes)
		least, room := sizes[len(sizes)-n], n
		for _, size := range sizes[len(sizes)-n:] {
			if size > least {
				room--
			}
		}
		all = slices.DeleteFunc(all, func(l sized) bool {
			if l.entries != least {
				return l.entries < least
			}
			room--
			return room < 0
		})
	}
	slices.SortFunc(all, func(x, y sized) int {
		return cmp.Or(cmp.Compare(y.entries, x.entries), cmp.Compare(x.name, y.name))
	})
	return all
}

func (m *machine) line(now int64, d *destination, oldest time.Time) Line {
	l := Line{
		Destination: d.name, Error: d.why, Limit: int(d.limit),
		Queued: int(d.queued), Deferred: int(d.deferred), Held: int(d.held), Active: int(d.busy),
		Oldest: oldest, Rate: d.rate.perSecond(now), Next: m.nextTry(now, d),
	}
	if d.down {
		l.Down = timeOf(d.downAt)
	}
	l.Drain = drain(l)
	if d.down {
		l.Drain = -1 // what went before says nothing
	}
	return l
}

// nextTry is when a destination is tried next; zero if it is being tried.
func (m *machine) nextTry(now int64, d *destination) time.Time {
	switch {
	case d.jobs > 0:
		return time.Time{}
	case d.untried():
		return timeOf(max(d.until, now))
	case d.waiting != 0:
		return timeOf(max(d.until, nanos(m.t.at(d.waiting).due)))
	}
	return time.Time{}
}

// drain is how long it takes until all but the held have gone; -1 if nothing
// goes.
func drain(l Line) time.Duration {
	n := l.Queued + l.Deferred + l.Active
	switch {
	case n == 0:
		return 0
	case l.Rate <= 0:
		return -1
	}
	s := float64(n) / l.Rate
	if s > (10 * 365 * 24 * time.Hour).Seconds() {
		return -1
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
