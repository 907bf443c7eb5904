package load

import (
	"math"
	"time"
)

// againAfter is how long the place of a stranger stays empty that went without
// an answer at RCPT. Without it a server that turns strangers away would be
// measured by how fast the load can connect.
const againAfter = 10 * time.Second

// crowd says how many strangers there should be, as a machine without I/O.
type crowd struct {
	curve  Curve
	factor float64
	speed  float64
	until  time.Duration // when the curve ends, or is cut
	hold   time.Duration // how long the last level stays after that
	rate   int

	last    time.Duration // the last step
	credit  float64       // connections that may be opened at once
	resting []time.Duration
}

func newCrowd(o *Options, c Curve) *crowd {
	until := time.Duration(float64(c.Length()) / o.Speed)
	if o.Duration > 0 {
		until = min(until, o.Duration)
	}
	return &crowd{curve: c, factor: o.Factor, speed: o.Speed, until: until, hold: o.Hold, rate: o.Rate}
}

// end is when nobody is wanted any more.
func (c *crowd) end() time.Duration { return c.until + c.hold }

// offered is how many connections the curve asks for at its highest.
func (c *crowd) offered() int {
	return c.people(c.curve.Max(time.Duration(float64(c.until) * c.speed)))
}

func (c *crowd) people(open float64) int { return int(math.Round(open * c.factor)) }

// wanted is how many connections there should be.
func (c *crowd) wanted(now time.Duration) int {
	if now >= c.end() {
		return 0
	}
	return c.people(c.curve.At(time.Duration(float64(min(now, c.until)) * c.speed)))
}

// left notes that a stranger went without an answer.
func (c *crowd) left(now time.Duration) { c.resting = append(c.resting, now+againAfter) }

// step tells how many to open, or how many to close, with open connections.
func (c *crowd) step(now time.Duration, open int) (more, fewer int) {
	const burst = 0.05 // seconds that may be caught up with at once
	c.credit = min(c.credit+(now-c.last).Seconds()*float64(c.rate), max(1, burst*float64(c.rate)))
	c.last = now
	for len(c.resting) > 0 && c.resting[0] <= now {
		c.resting = c.resting[1:]
	}
	need := c.wanted(now) - open - len(c.resting)
	if need >= 0 {
		more = min(need, int(c.credit))
		c.credit -= float64(more)
		return more, 0
	}
	// Empty places are given up before anybody has to go.
	gone := min(-need, len(c.resting))
	c.resting = c.resting[gone:]
	return 0, -need - gone
}
