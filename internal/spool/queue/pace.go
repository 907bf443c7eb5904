package queue

import (
	"math"
	"time"
)

// paceWindow is over how long a rate is felt: long enough that it does not
// jump with each message, short enough that it tells of now.
const paceWindow = time.Minute

// pace is a rate in events a second whose past fades exponentially.
type pace struct {
	at    int64   // of value
	begun int64   // of the present run of events
	value float64 // events a second, if the run were older than the window
}

func (p *pace) add(now int64, n int) {
	if p.begun == 0 || now-p.at > 10*int64(paceWindow) {
		*p = pace{begun: now, at: now}
	}
	p.value = p.faded(now) + float64(n)/paceWindow.Seconds()
	p.at = now
}

func (p *pace) faded(now int64) float64 {
	return p.value * math.Exp(-float64(max(now-p.at, 0))/float64(paceWindow)) // a clock may go back
}

// perSecond is the rate. While a run is younger than the window, what it has
// brought so far stands for the rest.
func (p *pace) perSecond(now int64) float64 {
	if p.begun == 0 {
		return 0
	}
	age := max(float64(now-p.begun), float64(time.Second))
	r := p.faded(now) / (1 - math.Exp(-age/float64(paceWindow)))
	if r < 1e-6 {
		return 0
	}
	return r
}
