package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// linesMax is how many destinations a Backlog tells apart: more than anybody
// reads.
const linesMax = 1000

// Backlog tells how far behind the queue is.
func (q *Queue) Backlog() Backlog {
	b, _ := q.backlog(linesMax)
	return b
}

// backlog tells of up to n destinations, and how many are down.
func (q *Queue) backlog(n int) (Backlog, int) {
	q.takeIn()
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.m.backlog(q.now(), n)
	b.Loading = q.loading
	return b, q.m.downs
}

func (m *machine) backlog(now int64, n int) Backlog {
	oldest := make([]uint32, len(m.dests))
	m.t.each(0, m.t.used, func(_ slot, e *entry) {
		if o := &oldest[e.dest]; e.place != held && (*o == 0 || e.received < *o) {
			*o = e.received
		}
	})
	b := Backlog{At: timeOf(now)}
	var ids []uint32
	for id, d := range m.dests {
		if d == nil || d.entries() == 0 {
			continue
		}
		ids = append(ids, uint32(id))
		b.Total.Queued += int(d.queued)
		b.Total.Deferred += int(d.deferred)
		b.Total.Held += int(d.held)
		b.Total.Active += int(d.busy)
		if o := timeOf(nanos(oldest[id])); !o.IsZero() && (b.Total.Oldest.IsZero() || o.Before(b.Total.Oldest)) {
			b.Total.Oldest = o
		}
		if next := m.nextTry(now, d); !next.IsZero() && (b.Total.Next.IsZero() || next.Before(b.Total.Next)) {
			b.Total.Next = next
		}
	}
	b.Total.Rate = m.rate.perSecond(now)
	b.Total.Drain = drain(b.Total)
	b.Total.Limit = m.o.Workers
	b.Others = max(0, len(ids)-n)
	for _, id := range m.largest(ids, n) {
		b.Destinations = append(b.Destinations, m.line(now, m.dests[id], oldest[id]))
	}
	return b
}

// largest gives the n destinations with the most entries, most first. It
// sorts only those that have as many as the last of them, or more.
func (m *machine) largest(ids []uint32, n int) []uint32 {
	if n <= 0 {
		return nil
	}
	if len(ids) > n {
		sizes := make([]uint32, len(ids))
		for i, id := range ids {
			sizes[i] = m.dests[id].entries()
		}
		slices.Sort(sizes)
		least, room := sizes[len(sizes)-n], n
		for _, size := range sizes[len(sizes)-n:] {
			if size > least {
				room--
			}
		}
		ids = slices.DeleteFunc(ids, func(id uint32) bool {
			if size := m.dests[id].entries(); size != least {
				return size < least
			}
			room--
			return room < 0
		})
	}
	slices.SortFunc(ids, func(x, y uint32) int {
		return cmp.Or(cmp.Compare(m.dests[y].entries(), m.dests[x].entries()), cmp.Compare(m.dests[x].name, m.dests[y].name))
	})
	return ids
}

func (m *machine) line(now int64, d *destination, oldest uint32) Line {
	l := Line{
		Destination: d.name, Error: d.why, Limit: int(d.limit),
		Queued: int(d.queued), Deferred: int(d.deferred), Held: int(d.held), Active: int(d.busy),
		Oldest: timeOf(nanos(oldest)), Rate: d.rate.perSecond(now), Next: m.nextTry(now, d),
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

// heldWhy says why an entry is held, as far as the machine knows.
func (m *machine) heldWhy(e *entry, route string) string {
	switch {
	case e.state == fate.Held:
		return "" // whoever held it said why: it is its last event
	case e.flags&flagAccount != 0:
		return m.accounts[account.ID(e.account)]
	case e.flags&flagRoute != 0:
		return route
	}
	return ""
}
