package load

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// timeMax bounds what the histograms tell apart: longer is counted as this.
const timeMax = 20 * time.Minute

// times is a distribution.
type times struct{ h *hdrhistogram.Histogram }

func newTimes() times {
	return times{hdrhistogram.New(1, int64(timeMax/time.Microsecond), 3)}
}

func (t times) add(d time.Duration) {
	us := int64(max(0, min(d, timeMax)) / time.Microsecond)
	if err := t.h.RecordValue(us); err != nil {
		panic(err) // it lies between the histogram's bounds
	}
}

// ms gives a quantile of 0 to 100.
func (t times) ms(q float64) float64 { return float64(t.h.ValueAtQuantile(q)) / 1000 }

func (t times) worst() float64 { return float64(t.h.Max()) / 1000 }

func (t times) spread() Spread {
	if t.h.TotalCount() == 0 {
		return Spread{}
	}
	return Spread{P50: t.ms(50), P99: t.ms(99), Worst: t.worst()}
}

// counts are numbers of strangers that change as the wave goes on; a value.
type counts struct {
	wanted, open         int
	established, greeted int
	heldMax, greetedMax  int
	attempted            int
	fates                [fates]int
}

// tally is all that the loop finds out; it belongs to the loop's goroutine
// until the loop has ended.
type tally struct {
	counts
	lostBy     map[string]int
	replies    map[uint32]int // stage and code
	wait       times
	refusal    times
	unfinished int
	lateMax    time.Duration
}

func newTally() *tally {
	return &tally{lostBy: map[string]int{}, replies: map[uint32]int{}, wait: newTimes(), refusal: newTimes()}
}

func (t *tally) reply(at stage, code uint16) { t.replies[uint32(at)<<16|uint32(code)]++ }

// repliesByName makes "rcpt 550" of the keys.
func (t *tally) repliesByName() map[string]int {
	out := map[string]int{}
	for key, n := range t.replies {
		name := fmt.Sprintf("%s %d", stage(key>>16), key&0xffff)
		if key&0xffff == malformed {
			name = stage(key>>16).String() + " no reply of SMTP"
		}
		out[name] += n
	}
	return out
}
