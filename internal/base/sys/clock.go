package sys

import "time"

// Clock tells the time and lets it pass.
type Clock interface {
	Now() time.Time
	// After gives a channel that receives the time once d has passed.
	After(d time.Duration) <-chan time.Time
}

// RealClock gives the system's clock.
func RealClock() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
