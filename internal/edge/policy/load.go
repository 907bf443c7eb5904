package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

// wellBelow is the share of a level's thresholds below which it may end, so
// that the level does not flap at the threshold.
const wellBelow = 0.7

// load finds the level: up at once, down one level at a time, each only after
// it was well below for a while.
type load struct {
	level atomic.Uint32 // Level; written under mu

	mu       sync.Mutex
	guests   float64   // guarded by mu, as all below
	budget   float64   //
	second   int64     // that count counts
	count    int       // arrivals in it
	arrivals float64   // a second, of late
	high     time.Time // when it was last not well below the level
	since    time.Time // of the level
}

func (l *load) get() Level { return Level(l.level.Load()) }

// arrive counts an arrival. It reports a change of level.
func (l *load) arrive(now time.Time, t *Loads) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.second {
		l.turn(s)
		changed = l.judge(now, t)
	}
	l.count++
	return changed
}

// turn ends a second: the rate is the mean of some seconds, the last ones
// counting most.
func (l *load) turn(second int64) {
	const share = 0.3
	if l.second != 0 {
		l.arrivals += share * (float64(l.count) - l.arrivals)
		for i := l.second + 1; i < second && l.arrivals > 0.01; i++ {
			l.arrivals -= share * l.arrivals
		}
	}
	l.second, l.count = second, 0
}

func (l *load) set(guests, budget float64, now time.Time, t *Loads) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests, l.budget = guests, budget
	if s := now.Unix(); s != l.second {
		l.turn(s)
	}
	return l.judge(now, t)
}

func (l *load) judge(now time.Time, t *Loads) (changed bool) {
	level := l.get()
	if up := l.reached(t, 1); up > level {
		l.level.Store(uint32(up))
		l.high, l.since = now, now
		return true
	}
	if l.reached(t, wellBelow) >= level || now.Sub(l.high) < 0 {
		l.high = now
		return false
	}
	if level == Calm || now.Sub(l.high) < t.Calm {
		return false
	}
	l.level.Store(uint32(level - 1))
	l.high, l.since = now, now
	return true
}

// reached is the highest level of whose thresholds the share is reached.
func (l *load) reached(t *Loads, share float64) Level {
	any := func(x *Load) bool {
		return x.Guests > 0 && l.guests >= share*x.Guests ||
			x.Budget > 0 && l.budget >= share*x.Budget ||
			x.Arrivals > 0 && l.arrivals >= share*x.Arrivals
	}
	switch {
	case any(&t.Stormy):
		return Stormy
	case any(&t.Busy):
		return Busy
	}
	return Calm
}

// loadNow are the figures behind a level.
type loadNow struct {
	level                    Level
	since                    time.Time
	guests, budget, arrivals float64
}

func (l *load) now() loadNow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return loadNow{l.get(), l.since, l.guests, l.budget, l.arrivals}
}
