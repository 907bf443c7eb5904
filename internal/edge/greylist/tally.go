package greylist

import (
	"net/netip"
	"slices"
	"time"
)

const (
	daysMax  = 30     // that the report covers
	listMax  = 200    // senders in each list of the report: what a person looks through
	waitsMax = 10_000 // waits that median and percentiles are made of; the latest
	daySecs  = 24 * 60 * 60
)

// Day counts the senders that were first told to come back on one day (UTC).
type Day struct {
	Day      string `json:"day"`            // "2026-11-22"
	Delayed  int    `json:"delayed"`        // told to come back
	Returned int    `json:"returned"`       // did, after their wait
	Accepted int    `json:"accepted"`       // and had a message accepted: good ones that were hurt
	Lost     int    `json:"never_returned"` // did not
	Unseen   int    `json:"unseen"`         // messages that were deferred and not seen again though their sender was
	Unasked  int    `json:"unasked"`        // not told to come back because too many were waiting
	at       int64  // days since 1970
}

// Case is one delayed sender.
type Case struct {
	Addr     netip.Addr `json:"addr"`
	Helo     string     `json:"helo"`
	From     string     `json:"from"` // domain; "" is the null reverse-path
	To       string     `json:"to"`
	First    time.Time  `json:"first_seen"`
	Last     time.Time  `json:"last_seen"`
	Attempts int        `json:"attempts"`
	Waited   seconds    `json:"waited_seconds"` // 0: it did not come back
}

// seconds is how long something took.
type seconds int64

func (s seconds) String() string { return (time.Duration(s) * time.Second).String() }

// wait is one delay that has ended.
type wait struct {
	first    int64 // seconds since 1970
	took     int64 // seconds
	accepted bool  // a message of the sender was accepted in the end
}

// tally is what the report is made of. Its owner's mutex guards it.
type tally struct {
	days    []Day // by day
	waits   []wait
	oldest  int // of waits, when it is full
	hurt    []Case
	missing []Case
}

// day finds the counts of the day of a first attempt.
func (t *tally) day(at int64) *Day {
	n := at / daySecs
	i, ok := slices.BinarySearchFunc(t.days, n, func(d Day, n int64) int { return int(d.at - n) })
	if ok {
		return &t.days[i]
	}
	if len(t.days) >= daysMax {
		if i == 0 {
			return &Day{} // older than the report goes
		}
		t.days = slices.Delete(t.days, 0, 1)
		i--
	}
	t.days = slices.Insert(t.days, i, Day{at: n})
	return &t.days[i]
}

func (t *tally) returned(w *waiter) { t.day(w.first).Returned++ }

// accepted notes a good sender that was hurt.
func (t *tally) accepted(w *waiter) {
	t.day(w.first).Accepted++
	t.ended(w)
	t.hurt = push(t.hurt, w.toCase())
}

// ended notes the wait of a sender that has come back and will not be heard of
// any more.
func (t *tally) ended(w *waiter) {
	e := wait{first: w.first, took: w.returned - w.first, accepted: w.accepted}
	if len(t.waits) < waitsMax {
		t.waits = append(t.waits, e)
		return
	}
	t.waits[t.oldest] = e
	t.oldest = (t.oldest + 1) % waitsMax
}

func (t *tally) lost(w *waiter) {
	t.day(w.first).Lost++
	t.missing = push(t.missing, w.toCase())
}

// push keeps the last listMax.
func push(list []Case, c Case) []Case {
	if len(list) >= listMax {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, c)
}
