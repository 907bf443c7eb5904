package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// domains gives n of them.
func domains(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("d%d.test", i)
	}
	return out
}

// network answers in half a second but from away to back, when attempts fail
// after half a minute.
func network(away, back time.Duration) func(w *world, t *task) answer {
	return func(w *world, t *task) answer {
		if w.since() >= away && w.since() < back {
			return answer{after: 30 * time.Second, health: Down}
		}
		return answer{after: 500 * time.Millisecond, health: Up}
	}
}

// TestOutage_networkAway is the incident network-down with 50,000 messages: a
// network is away for an hour. It must be noticed within two minutes that it is
// back, without a herd, and all be gone within minutes, the oldest first.
func TestOutage_networkAway(t *testing.T) {
	for _, n := range []int{1, 20, 2000} {
		t.Run(fmt.Sprintf("%d destinations", n), func(t *testing.T) { networkAway(t, n) })
	}
}

func networkAway(t *testing.T, n int) {
	const away, back, messages = time.Minute, 61 * time.Minute, 50_000
	w := newWorld(t, func(o *Options) { o.PerDestination = max(20, 200/n) }, network(away, back))
	names := domains(n)
	for i := range messages {
		w.at(away+time.Duration(i)*(back-away)/messages, func() { w.accept(names[i*i%n]) })
	}
	var first time.Duration
	perSecond := map[time.Duration]int{}
	tried := 0
	w.started = func(*task) {
		if tried++; w.since() >= back {
			perSecond[w.since().Truncate(time.Second)]++
		}
	}
	w.run(back - time.Second)
	b := w.m.backlog(w.now, 10)
	if total := b.Total.Queued + b.Total.Deferred + b.Total.Active; total < messages-100 || b.Total.Drain != -1 ||
		b.Destinations[0].Down.IsZero() || b.At.Sub(b.Total.Oldest) < 55*time.Minute {
		t.Errorf("the backlog in the outage does not tell of it: %+v", b)
	}
	inOutage := tried
	most := n*8 + 5*n + 70 // each by its own backoff, the first few at once, the scout
	if inOutage > most {
		t.Errorf("%d attempts in an hour of outage with %d destinations, want at most %d", inOutage, n, most)
	}
	w.run(back + 20*time.Second)
	w.verify = 5000
	w.run(24 * time.Hour)
	if len(w.ended) != messages {
		t.Fatalf("%d of %d have ended", len(w.ended), messages)
	}
	var last time.Duration
	for _, at := range w.ended {
		d := time.Duration(at - start().UnixNano())
		if last = max(last, d); first == 0 || d < first {
			first = d
		}
	}
	herd := 0
	for s := range time.Duration(5) {
		herd = max(herd, perSecond[(first+s*time.Second).Truncate(time.Second)])
	}
	t.Logf("%d attempts in the outage; back after %v, all gone after %v; at most %d attempts a second in the first five",
		inOutage, first-back, last-back, herd)
	if first-back > 2*time.Minute {
		t.Errorf("that it is back was noticed after %v", first-back)
	}
	if last-first > 8*time.Minute {
		t.Errorf("it took %v to send %d messages", last-first, messages)
	}
	if herd > 2*w.m.o.Workers {
		t.Errorf("%d attempts in one of the first seconds", herd)
	}
	inversions(t, w, names)
}

// inversions checks that what is older went first, at each destination.
func inversions(t *testing.T, w *world, names []string) {
	t.Helper()
	type end struct {
		r  ref
		at int64
	}
	var ends []end
	for r, at := range w.ended {
		ends = append(ends, end{r, at})
	}
	slices.SortFunc(ends, func(a, b end) int { return int(a.r.lsn) - int(b.r.lsn) })
	latest := map[string]int64{}
	bad := 0
	for i, e := range ends {
		name := names[i*i%len(names)]
		if e.at < latest[name]-int64(2*time.Second) { // as long as attempts side by side differ
			bad++
		}
		latest[name] = max(latest[name], e.at)
	}
	if bad > len(ends)/100 {
		t.Errorf("%d messages went long before an older one of their destination", bad)
	}
}

// TestOutage_oneDestination: what is sent to a destination that is away waits
// for it, and all others for nothing.
func TestOutage_oneDestination(t *testing.T) {
	w := newWorld(t, nil, func(w *world, t *task) answer {
		if t.name == "away.test" && w.since() < 3*time.Hour {
			return answer{after: time.Minute, health: Down}
		}
		return answer{after: time.Second, health: Up}
	})
	var attempts []time.Duration
	w.started = func(t *task) {
		if t.name == "away.test" {
			attempts = append(attempts, w.since())
		}
	}
	for i := range 3600 * 4 {
		w.at(time.Duration(i)*time.Second, func() { w.accept("up.test") })
		if i < 1000 {
			w.at(time.Duration(i)*time.Second, func() { w.accept("away.test") })
		}
	}
	w.run(5 * time.Hour)
	if len(w.ended) != len(w.from) {
		t.Fatalf("%d of %d ended", len(w.ended), len(w.from))
	}
	var gaps []time.Duration
	probes := 0
	for i, at := range attempts {
		if i > 0 && at > 2*time.Minute && at < 3*time.Hour {
			probes++
			gaps = append(gaps, (at - attempts[i-1]).Round(time.Second))
		}
	}
	t.Logf("%d probes, %v apart", probes, gaps)
	if probes < 7 || probes > 14 || slices.Max(gaps) > 36*time.Minute {
		t.Errorf("a destination that was away for three hours was tried %d times, %v apart", probes, gaps)
	}
	for r, at := range w.ended {
		if w.m.t.find(uint64(r.lsn), 0) != 0 {
			t.Fatal("an entry is left")
		}
		_ = at
	}
}

// TestOutage_thenLater: that a destination was away for long makes nobody wait
// long whom it tells "later" when it is back, even if this host was started anew
// meanwhile and has only the number of attempts.
func TestOutage_thenLater(t *testing.T) {
	const back = 20 * time.Hour
	for _, restart := range []bool{false, true} {
		told := map[journal.LSN]bool{}
		w := newWorld(t, func(o *Options) { o.Warn = -1 }, nil)
		w.hosts = func(w *world, task *task) answer {
			a := network(0, back)(w, task)
			if a.health == Up && !told[task.lsn] {
				told[task.lsn] = true
				a.states = []fate.State{fate.Deferred}
			}
			return a
		}
		w.at(0, func() {
			for range 100 {
				if w.accept("d.test"); !restart {
					continue
				}
				w.m.ended(w.now, w.lsn, 0)
				w.m.add(w.now, fate.Open{LSN: w.lsn, State: fate.Deferred, Attempts: 40, Received: timeOf(w.now), Domain: "d.test"}, "d.test", "")
			}
		})
		w.run(back + 40*time.Minute)
		if len(w.ended) != 100 {
			t.Errorf("restart %v: 40 minutes after the outage %d of 100 are gone", restart, len(w.ended))
		}
	}
}

// TestGreylist_backlog: a host that takes each message at the second try, if
// that comes five minutes after the first one, has 2,000 soon after that.
func TestGreylist_backlog(t *testing.T) {
	const messages, grey = 2000, 5 * time.Minute
	met := map[ref]time.Duration{}
	w := newWorld(t, nil, func(w *world, task *task) answer {
		r := ref{task.lsn, task.rcpts[0]}
		if _, ok := met[r]; !ok {
			met[r] = w.since()
		}
		a := answer{after: 500 * time.Millisecond, health: Up}
		if w.since()-met[r] < grey {
			a.states = []fate.State{fate.Deferred}
		}
		return a
	})
	w.at(0, func() {
		for range messages {
			w.accept("grey.test")
		}
	})
	w.run(24 * time.Hour)
	var worst time.Duration
	for r, at := range w.ended {
		worst = max(worst, time.Duration(at-start().UnixNano())-met[r])
	}
	t.Logf("all gone after %v, the slowest %v after its first try", w.since(), worst)
	if len(w.ended) != messages || w.tried != 2*messages || worst > grey*9/8+time.Minute {
		t.Errorf("%d of %d are gone after %d attempts, the slowest %v after its first try", len(w.ended), messages, w.tried, worst)
	}
}

// TestOutage_touchedMeanwhile: what waits for a destination still does so when
// its account was held and released, or its sender warned, in the outage.
func TestOutage_touchedMeanwhile(t *testing.T) {
	for name, touch := range map[string]func(w *world){
		"held and released": func(w *world) { w.m.holdAccount(w.now, 0, "x"); w.m.releaseAccount(w.now, 0) },
		"warned":            func(w *world) { w.m.o.Warn = time.Minute },
	} {
		for back := 3 * time.Hour; back < 4*time.Hour; back += 5 * time.Minute {
			w := newWorld(t, func(o *Options) { o.Warn = -1 }, network(0, back))
			w.verify = 1
			w.at(0, func() { w.accept("d.test") })
			w.at(back-3*time.Minute, func() { touch(w) })
			w.run(back + 3*time.Minute)
			if len(w.ended) != 1 {
				t.Errorf("%s: three minutes after an outage of %v it still waits", name, back)
			}
		}
	}
}

// TestOutage_othersDoNotWait measures what a good destination waits beside a
// dead and a slow one with 10,000 messages each: no longer than alone.
func TestOutage_othersDoNotWait(t *testing.T) {
	wait := func(beside bool) (worst, sum time.Duration) {
		w := newWorld(t, nil, func(w *world, t *task) answer {
			switch t.name {
			case "dead.test":
				return answer{after: 5 * time.Minute, health: Down}
			case "slow.test":
				return answer{after: 4 * time.Minute, health: Up}
			}
			return answer{after: 300 * time.Millisecond, health: Up}
		})
		good := map[ref]bool{}
		if beside {
			w.at(0, func() {
				for range 10_000 {
					w.accept("dead.test")
					w.accept("slow.test")
				}
			})
		}
		for i := range 5000 {
			w.at(time.Second+time.Duration(i)*100*time.Millisecond, func() { good[ref{w.accept("good.test"), 0}] = true })
		}
		w.run(time.Hour)
		for r := range good {
			d := time.Duration(w.ended[r] - w.from[r])
			if w.ended[r] == 0 {
				t.Fatalf("%v is not gone", r)
			}
			worst, sum = max(worst, d), sum+d
		}
		return worst, sum / time.Duration(len(good))
	}
	aloneWorst, alone := wait(false)
	besideWorst, beside := wait(true)
	t.Logf("alone %v, at worst %v; beside a dead and a slow one %v, at worst %v", alone, aloneWorst, beside, besideWorst)
	if beside > alone || besideWorst > aloneWorst {
		t.Error("the good destination waits for the others")
	}
}

// TestOutage_manySlow: even hundreds of slow destinations leave room for one
// that is new.
func TestOutage_manySlow(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Workers = 100 }, func(w *world, t *task) answer {
		if t.name == "good.test" {
			return answer{after: time.Second, health: Up}
		}
		return answer{after: 4 * time.Minute, health: Up}
	})
	w.at(0, func() {
		for range 200 {
			for _, d := range domains(60) {
				w.accept(d)
			}
		}
	})
	var good []ref
	for i := range 100 {
		w.at(time.Minute+time.Duration(i)*10*time.Second, func() { good = append(good, ref{w.accept("good.test"), 0}) })
	}
	w.run(30 * time.Minute)
	for _, r := range good {
		if d := time.Duration(w.ended[r] - w.from[r]); w.ended[r] == 0 || d > 2*time.Second {
			t.Fatalf("a message for the good destination took %v", d)
		}
	}
}

// TestSim_changeOfMind: hosts that accept, are busy, defer, refuse and
// vanish at random: every recipient ends once, and none is hammered.
func TestSim_changeOfMind(t *testing.T) {
	for seed := range seeds(t, 20) {
		w := newWorld(t, func(o *Options) { o.Workers = 50 }, nil)
		w.m.seed = uint64(seed)
		w.verify = 4999
		dice := uint64(seed) + 1
		roll := func(n int) int { dice += 0x9e3779b97f4a7c15; return int(mix(dice) % uint64(n)) }
		w.hosts = func(w *world, t *task) answer {
			a := answer{after: time.Duration(roll(20_000)) * time.Millisecond, health: Health(roll(4))}
			for range t.slots {
				s := []fate.State{fate.Relayed, fate.Deferred, fate.Deferred, fate.Bounced}[roll(4)]
				if a.health != Up {
					s = fate.Deferred
				}
				a.states = append(a.states, s)
			}
			return a
		}
		for i := range 300 {
			w.at(time.Duration(roll(7200))*time.Second, func() {
				var to []string
				for range 1 + roll(5) {
					to = append(to, fmt.Sprintf("d%d.test", roll(12)))
				}
				w.accept(to...)
			})
			_ = i
		}
		w.run(6 * 24 * time.Hour)
		if len(w.ended) != len(w.from) {
			t.Fatalf("seed %d: %d of %d ended", seed, len(w.ended), len(w.from))
		}
		w.m.verify(t, w.now)
	}
}
