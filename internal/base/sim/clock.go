package sim

import (
	"sync"
	"time"
)

// Clock is a sys.Clock that stands still until Advance is called.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []timer // guarded by mu, unordered
}

type timer struct {
	at time.Time
	c  chan time.Time
}

// NewClock gives a clock that stands at start.
func NewClock(start time.Time) *Clock { return &Clock{now: start} }

// Now gives the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After gives a channel that receives the time as soon as the clock has been
// advanced by d.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := timer{at: c.now.Add(d), c: make(chan time.Time, 1)}
	if d <= 0 {
		t.c <- c.now
		return t.c
	}
	c.timers = append(c.timers, t)
	return t.c
}

// Advance moves the clock and fires what is due, earliest first.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.now.Add(d)
	for {
		next := -1
		for i, t := range c.timers {
			if !t.at.After(end) && (next < 0 || t.at.Before(c.timers[next].at)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		t := c.timers[next]
		c.timers = append(c.timers[:next], c.timers[next+1:]...)
		c.now = t.at
		t.c <- t.at
	}
	c.now = end
}
