package queue

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// TestMachine_clockSetBack: a clock that was a year ahead leaves nothing that
// waits for that year.
func TestMachine_clockSetBack(t *testing.T) {
	const year = 365 * 24 * time.Hour
	w := newWorld(t, func(o *Options) { o.Warn = -1 }, func(w *world, task *task) answer {
		switch {
		case task.name == "down.test" && w.since() < year+2*time.Hour:
			return answer{after: time.Second, health: Down}
		case task.name == "later.test" && w.m.t.at(task.slots[0]).state == fate.Queued:
			return answer{after: time.Second, health: Busy}
		}
		return answer{after: time.Second, health: Up}
	})
	w.verify = 1
	w.now += int64(year)
	for range 3 {
		w.accept("later.test", "down.test", "fine.test")
	}
	w.run(year + time.Minute)
	w.m.verify(t, w.now)
	w.now -= int64(year)
	w.events = nil
	for _, d := range w.m.dests[1:] {
		if d.jobs > 0 {
			t.Fatal("attempts are under way; the test needs another moment")
		}
	}
	w.hosts = func(*world, *task) answer { return answer{after: time.Second, health: Up} }
	w.run(time.Duration(w.now-start().UnixNano()) + time.Hour)
	if len(w.ended) != 9 {
		t.Errorf("an hour later %d of 9 have gone", len(w.ended))
	}
	if r := w.m.rate.perSecond(w.now); math.IsInf(r, 0) || math.IsNaN(r) || r > 100 {
		t.Errorf("a rate of %v", r)
	}
}

// TestPace_clockSetBack: a rate is a number, whatever the clock does.
func TestPace_clockSetBack(t *testing.T) {
	var p pace
	now := start().UnixNano()
	p.add(now, 10)
	for _, back := range []time.Duration{time.Second, time.Hour, 24 * time.Hour} {
		if r := p.perSecond(now - int64(back)); r > 20 || math.IsNaN(r) {
			t.Errorf("%v earlier: a rate of %v", back, r)
		}
	}
}

// TestMachine_dueFarAway: a time that only a wrong clock can have written keeps
// nothing waiting.
func TestMachine_dueFarAway(t *testing.T) {
	w := newWorld(t, nil, func(*world, *task) answer { return answer{health: Up} })
	w.m.add(w.now, fate.Open{LSN: 1, State: fate.Deferred, Received: timeOf(w.now), Domain: message.Domain("d.test"),
		Due: timeOf(w.now).AddDate(1, 0, 0)}, "d.test", "")
	w.run(28 * time.Hour)
	if w.tried != 1 {
		t.Errorf("%d attempts", w.tried)
	}
}

// TestMachine_poison: one message that makes a host seem down does not take the
// place of all others.
func TestMachine_poison(t *testing.T) {
	poison := 0
	w := newWorld(t, func(o *Options) { o.Warn = -1 }, func(w *world, task *task) answer {
		if task.lsn == 1 {
			poison++
			return answer{after: time.Second, health: Down}
		}
		return answer{after: time.Second, health: Up}
	})
	w.accept("d.test")
	for i := range 24 * 60 {
		w.at(time.Duration(i)*time.Minute, func() { w.accept("d.test") })
	}
	w.run(25 * time.Hour)
	if poison > 30 {
		t.Errorf("%d attempts of one message in a day", poison)
	}
	if len(w.ended) != 24*60 {
		t.Errorf("%d of the others went", len(w.ended))
	}
}

// TestAct_releaseOld: what was held for longer than anything may wait is tried
// when it is let go, and not given up unseen.
func TestAct_releaseOld(t *testing.T) {
	for _, byAccount := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newBooks(t).live()
			tried := map[string]int{}
			o := Options{Warn: -1, Workers: 1}
			q, end := begin(t, l, o, carrier(func(_ context.Context, j Job) Result {
				tried[j.Destination]++
				if tried[j.Destination] == 1 && byAccount {
					return all(j, Up, fate.Event{State: fate.Deferred, Reply: "451 later"})
				}
				<-time.After(3 * time.Minute) // so that the others wait
				return all(j, Up, relayed())
			}))
			if !byAccount {
				q.HoldAccount(1, "suspect") // so that nothing is tried before the hold
			}
			for _, d := range []string{"a.test", "b.test", "c.test"} {
				l.accept(mail("u@" + d))
			}
			time.Sleep(2 * time.Second)
			if byAccount {
				q.HoldAccount(1, "suspect")
			} else if n, err := q.Act(t.Context(), Hold, Selection{All: true}, Args{}); n != 3 || err != nil {
				t.Fatal(n, err)
			}
			if !byAccount {
				q.ReleaseAccount(1)
			}
			time.Sleep(8 * 24 * time.Hour)
			if byAccount {
				q.ReleaseAccount(1)
			} else if n, err := q.Act(t.Context(), Release, Selection{All: true}, Args{}); n != 3 || err != nil {
				t.Fatal(n, err)
			}
			time.Sleep(time.Hour)
			for lsn := range 3 {
				wantState(t, l, l.lsn-2+journal.LSN(lsn), 0, fate.Relayed)
			}
			end()
		})
	}
}

// TestMachine_oldAtStart: what grew old while this host was off is tried once,
// whether or not it had been tried before.
func TestMachine_oldAtStart(t *testing.T) {
	w := newWorld(t, nil, func(*world, *task) answer { return answer{after: 5 * time.Minute, health: Up} })
	w.m.o.Workers = 1
	w.m.allow(everything)
	for i := range 8 {
		w.m.add(w.now, fate.Open{LSN: 1, Rcpt: i, State: fate.Queued + fate.State(i%2), Received: timeOf(w.now).AddDate(0, 0, -6)}, domains(8)[i], "")
	}
	w.run(time.Hour)
	if w.tried != 8 {
		t.Errorf("%d attempts", w.tried)
	}
}

// TestMachine_clockPutAhead: what a sleep of this host, or a wrong clock, has
// made old is tried before it is given up; what is refused then is given up.
func TestMachine_clockPutAhead(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warn = -1 }, nil)
	w.hosts = func(w *world, task *task) answer {
		if w.since() > time.Hour && task.name == "fine.test" {
			return answer{after: time.Minute, health: Up}
		}
		return answer{after: time.Minute, health: Up, states: []fate.State{fate.Deferred}}
	}
	fine := w.accept("fine.test")
	full := w.accept("full.test")
	w.run(20 * time.Minute)
	w.now += int64(6 * 24 * time.Hour)
	w.run(w.since() + 30*time.Minute)
	if w.ended[ref{fine, 0}] == 0 || w.ended[ref{full, 0}] != 0 {
		t.Errorf("half an hour later: %v", w.ended)
	}
	w.run(w.since() + time.Hour)
	if w.ended[ref{full, 0}] == 0 {
		t.Error("it is never given up")
	}
}

// TestMachine_receivedInTheFuture: what was accepted while the clock was ahead
// is given up in time all the same.
func TestMachine_receivedInTheFuture(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t, func(o *Options) { o.Warn = -1 }, func(*world, *task) answer {
			return answer{after: time.Second, health: Up, states: []fate.State{fate.Deferred}}
		})
		ahead := int64(365 * 24 * time.Hour)
		if !restart {
			w.now += ahead
			w.m.step(w.now)
		}
		w.from[ref{1, 0}] = w.now
		w.m.add(w.now, fate.Open{LSN: 1, State: fate.Deferred, Received: start().Add(time.Duration(ahead))}, "d.test", "")
		w.now = start().UnixNano()
		w.run(5*24*time.Hour + 2*time.Hour)
		if len(w.ended) != 1 {
			t.Errorf("restart %v: it is never given up", restart)
		}
	}
}
