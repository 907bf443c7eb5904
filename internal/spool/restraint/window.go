package restraint

import "time"

// A window has a step more than fits into its time, so that what is in it
// leaves it up to a step late, and never early.
const (
	hourSteps = 12 + 1
	hourStep  = 5 * 60 // seconds
	daySteps  = 24 + 1
	dayStep   = 60 * 60
	weekSteps = 7 + 1
	weekStep  = daySeconds

	daySeconds = 24 * 60 * 60
)

// period is what a window counts.
type period uint8

const (
	hourly period = iota
	daily
	weekly
)

// window counts what was in the last hour, day or week.
type window struct {
	period period
	at     int64            // the newest step, since 1970
	steps  [daySteps]uint32 // step n is at n mod size
}

func (w *window) size() (steps, seconds int64) {
	switch w.period {
	case daily:
		return daySteps, dayStep
	case weekly:
		return weekSteps, weekStep
	}
	return hourSteps, hourStep
}

// turn empties the steps that have passed. A clock that is set back changes
// nothing.
func (w *window) turn(now time.Time) {
	n, seconds := w.size()
	at := max(now.Unix(), 0) / seconds
	if at-w.at >= n {
		w.steps = [daySteps]uint32{}
		w.at = at
	}
	for w.at < at {
		w.at++
		w.steps[w.at%n] = 0
	}
}

func (w *window) add(now time.Time, n int) {
	w.turn(now)
	size, _ := w.size()
	w.steps[w.at%size] += uint32(n)
}

// take undoes n of what was added, the newest first.
func (w *window) take(now time.Time, n int) {
	w.turn(now)
	size, _ := w.size()
	for k := w.at; k > w.at-size && n > 0; k-- {
		part := min(n, int(w.steps[k%size]))
		w.steps[k%size] -= uint32(part)
		n -= part
	}
}

func (w *window) sum(now time.Time) int {
	w.turn(now)
	sum := 0
	for _, n := range w.steps {
		sum += int(n)
	}
	return sum
}

// after is what was counted since a time, in whole steps: no less than that.
func (w *window) after(now time.Time, since int64) int {
	w.turn(now)
	size, seconds := w.size()
	sum := 0
	for k := max(since/seconds, w.at-size+1, 0); k <= w.at; k++ {
		sum += int(w.steps[k%size])
	}
	return sum
}

// reach is how many steps there are from the oldest that counts anything to
// the newest.
func (w *window) reach(now time.Time) int {
	w.turn(now)
	size, _ := w.size()
	for k := max(w.at-size+1, 0); k < w.at; k++ {
		if w.steps[k%size] > 0 {
			return int(w.at - k + 1)
		}
	}
	return 1
}

// below tells when the sum will be below a limit if nothing is added.
func (w *window) below(now time.Time, limit int) time.Time {
	sum := w.sum(now)
	size, seconds := w.size()
	k := max(w.at-size+1, 0)
	for ; k < w.at && sum >= limit; k++ {
		sum -= int(w.steps[k%size])
		if sum < limit {
			break
		}
	}
	return time.Unix((k+size)*seconds, 0).UTC()
}
