package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// task is something to be done for some recipients of one message.
type task struct {
	kind  kind
	lsn   journal.LSN
	dest  uint32 // of an attempt
	name  string // of dest
	probe bool   // of a destination that is down
	first bool   // it found its destination down, of which nothing was known
	began int64
	slots []slot
	rcpts []int // of slots, ascending
}

type kind uint8

const (
	attempt kind = iota
	warn         // tell the sender of a delay
	expire       // give up
	order        // do what an operator said
)

// begin makes a task of the oldest message of a destination: of all its
// recipients that may be tried, up to jobMax.
func (m *machine) begin(now int64, id uint32) *task {
	d := m.dests[id]
	t := &task{kind: attempt, dest: id, name: d.name, probe: d.down, began: now}
	heap := &d.ready
	if *heap == 0 {
		heap = &d.parked
	}
	t.lsn = journal.LSN(m.t.at(*heap).lsn)
	for *heap != 0 && len(t.slots) < jobMax && m.t.at(*heap).lsn == uint64(t.lsn) {
		m.take(t, *heap)
	}
	d.jobs++
	m.active++
	d.probing = d.probing || d.down
	d.triedAt = now
	return t
}

// take makes an entry part of a task.
func (m *machine) take(t *task, s slot) {
	m.lift(s)
	t.slots = append(t.slots, s)
}

// name puts the entries of a task into the order that a fate.Change has its
// recipients in: neither slots nor due times are in that order.
func (m *machine) name(t *task) {
	slices.SortFunc(t.slots, func(a, b slot) int { return cmp.Compare(m.t.at(a).rcpt, m.t.at(b).rcpt) })
	t.rcpts = make([]int, len(t.slots))
	for i, s := range t.slots {
		t.rcpts[i] = int(m.t.at(s).rcpt)
	}
}

// fall is what became of one entry of a task.
type fall struct {
	state  fate.State // Ended: it is forgotten
	due    int64
	step   bool // it counts in the schedule
	parked bool // it waits for its destination, not for its time
	warned bool
}

// fallOf says what becomes of an entry that was deferred.
func (m *machine) fallOf(now int64, t *task, s slot, h Health, after time.Duration) fall {
	e, d := m.t.at(s), m.dests[t.dest]
	f := fall{state: fate.Deferred, step: after == 0}
	again := t.first && e.flags&flagFirst != 0
	if t.first {
		e.flags |= flagFirst
	}
	switch {
	case h == Down && d.down && !again:
		f.due, f.step, f.parked = d.until, false, true
	case after > 0:
		f.due = now + int64(min(max(after, time.Second), retryAfterMax))
	default:
		delay := m.o.Schedule[min(int(e.step), len(m.o.Schedule)-1)]
		f.due = now + m.jitter(delay)
	}
	return f
}

// settle ends a task: falls are of its entries, in their order.
func (m *machine) settle(now int64, t *task, falls []fall) {
	switch t.kind {
	case attempt:
		d := m.dests[t.dest]
		d.jobs--
		m.active--
		if t.probe {
			d.probing = false
		}
	case warn, expire:
		m.sweeper.settled(now, falls)
	}
	for i, s := range t.slots {
		m.fell(now, s, falls[i])
	}
	if t.kind == attempt {
		m.look(now, t.dest)
	}
}

func (m *machine) fell(now int64, s slot, f fall) {
	e := m.t.at(s)
	if f.state.Ended() || e.flags&flagGone != 0 {
		m.dests[e.dest].rate.add(now, 1)
		m.rate.add(now, 1)
		m.forget(now, s)
		return
	}
	e.state, e.due = f.state, seconds(f.due)
	if f.step && e.step < 255 {
		e.step++
	}
	if f.warned {
		e.flags |= flagWarned
	}
	e.flags &^= flagParked
	if f.parked {
		e.flags |= flagParked
	}
	m.lay(now, s)
}

// asItWas is the fall of an entry to which nothing happened.
func (m *machine) asItWas(s slot) fall {
	e := m.t.at(s)
	return fall{state: e.state, due: nanos(e.due), parked: e.flags&flagParked != 0}
}
