package queue

import (
	"container/heap"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// world plays the machine's surroundings, in simulated time and without a
// goroutine: attempts take as long and end as its hosts say.
type world struct {
	tb      testing.TB
	m       *machine
	now     int64
	lsn     journal.LSN
	hosts   func(w *world, t *task) answer
	events  events
	ended   map[ref]int64
	from    map[ref]int64 // when it was accepted
	started func(t *task) // nil or told of every attempt
	tried   int
	verify  int // every so many events; 0 is never
	seen    int
}

// answer is how an attempt ends.
type answer struct {
	after  time.Duration
	health Health
	states []fate.State // of each recipient; nil: all Relayed if Up, else Deferred
}

type event struct {
	at int64
	n  int
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newWorld(tb testing.TB, set func(*Options), hosts func(w *world, t *task) answer) *world {
	return &world{
		tb: tb, m: testMachine(set), now: start().UnixNano(), hosts: hosts,
		ended: map[ref]int64{}, from: map[ref]int64{},
	}
}

// at has something done at a time after the start.
func (w *world) at(d time.Duration, do func()) {
	w.seen++
	heap.Push(&w.events, event{at: start().Add(d).UnixNano(), n: w.seen, do: do})
}

// since is how long it has gone on.
func (w *world) since() time.Duration { return time.Duration(w.now - start().UnixNano()) }

// accept takes in a message.
func (w *world) accept(domains ...string) journal.LSN {
	w.lsn++
	for i, d := range domains {
		w.from[ref{w.lsn, i}] = w.now
		w.m.add(w.now, fate.Open{LSN: w.lsn, Rcpt: i, State: fate.Queued, Received: timeOf(w.now), Domain: message.Domain(d)}, d, "")
	}
	return w.lsn
}

// run goes on until a time after the start, or until nothing is left to do.
func (w *world) run(until time.Duration) {
	end := start().Add(until).UnixNano()
	for n := 0; ; n++ {
		for _, t := range w.m.step(w.now) {
			w.do(t)
		}
		if w.verify > 0 && n%w.verify == 0 {
			w.m.verify(w.tb, w.now)
		}
		next := w.m.wake()
		if next != 0 && next <= w.now {
			w.tb.Fatalf("after a step the next is at once: %d", next-w.now)
		}
		if len(w.events) > 0 && (next == 0 || w.events[0].at < next) {
			next = w.events[0].at
		}
		if next == 0 || w.m.t.count == 0 && len(w.events) == 0 {
			return
		}
		if next > end {
			w.now = end
			return
		}
		w.now = max(w.now, next)
		for len(w.events) > 0 && w.events[0].at <= w.now {
			heap.Pop(&w.events).(event).do()
		}
	}
}

func (w *world) do(t *task) {
	if t.kind != attempt {
		falls := make([]fall, len(t.slots))
		for i, s := range t.slots {
			falls[i] = w.m.asItWas(s)
			falls[i].warned = true
			if t.kind == expire {
				falls[i] = fall{state: fate.Bounced}
				w.end(ref{t.lsn, t.rcpts[i]})
			}
		}
		w.m.settle(w.now, t, falls)
		return
	}
	if w.started != nil {
		w.started(t)
	}
	w.tried++
	a := w.hosts(w, t)
	w.at(w.since()+a.after, func() { w.settle(t, a) })
}

func (w *world) settle(t *task, a answer) {
	w.m.heard(w.now, t, a.health, a.health.String())
	falls := make([]fall, len(t.slots))
	for i, s := range t.slots {
		state := fate.Deferred
		if a.states != nil {
			state = a.states[i]
		} else if a.health == Up {
			state = fate.Relayed
		}
		falls[i] = fall{state: state}
		if state == fate.Deferred {
			falls[i] = w.m.fallOf(w.now, t, s, a.health, 0)
		} else {
			w.end(ref{t.lsn, t.rcpts[i]})
		}
	}
	w.m.settle(w.now, t, falls)
}

func (w *world) end(r ref) {
	if w.ended[r] != 0 {
		w.tb.Fatalf("%v ended twice", r)
	}
	w.ended[r] = w.now
}

// backlog is Queue's, of a machine that stands still.
func (m *machine) backlog(now int64, n int) Backlog {
	var c count
	c.entries(m, 0, m.t.used)
	c.destinations(m, now, 0, len(m.dests))
	others := max(0, len(c.lines)-n)
	c.lines = largest(c.lines, n)
	b := c.backlog(m, now)
	b.Others = others
	return b
}
