package greylist

import (
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Decision is the answer to one attempt.
type Decision struct {
	Pass     bool
	First    time.Time     // the first attempt; zero if there was none before that counts
	Retry    time.Time     // an attempt from then on passes; zero if Pass
	Waited   time.Duration // how long this message was delayed; 0: it was not
	Attempts int           // of this message, with this one
}

// Check judges an attempt of a sender to reach a recipient, and remembers it.
// Ask it of a known sender too: it passes, and Decision says whether this
// message had to wait before the sender was known.
//
// If the pool of a deferred sender is learnt only afterwards, the same attempt
// is to be given again, with the pool and its old time: it is noted and counts
// no second time.
//
// Passing by the wait makes the pool one that is not asked to wait again.
func (t *Table) Check(s Sender, to message.Address, now time.Time) Decision {
	site, spf := t.secret.poolNames(s)
	passed, _ := t.known.get(site, now)
	if !passed {
		passed, _ = t.known.get(spf, now)
	}
	bySite, bySPF := t.secret.waitNames(s)
	at, recipient := now.Unix(), t.toHash(to)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(at)
	w, named := t.queue.find(bySite, bySPF)
	if named {
		t.dirty.Store(true)
		if at <= w.last {
			return t.answer(w, recipient, at, passed || !t.o.Enabled)
		}
	}
	if w != nil && w.first > at { // the clock was set back
		w.first, w.last = at, at
	}
	free := passed || !t.o.Enabled
	switch {
	case w == nil && (free || !t.room(at)):
		t.o.Metrics.passed.Inc()
		return Decision{Pass: true, Attempts: 1}
	case w == nil:
		w = &waiter{bySite: bySite, bySPF: bySPF, first: at, addr: s.Addr.Unmap().WithZone(""), who: who(s, to)}
		t.queue.add(w)
		t.o.Metrics.waiting.Set(float64(t.queue.count))
		t.tally.day(at).Delayed++
	case free || at-w.first >= whole(t.o.Wait):
		if !passed && t.o.Enabled {
			seen := newStamp(now, false)
			t.known.put(site, seen)
			t.known.put(spf, seen)
			t.dirty.Store(true)
		}
		return t.pass(w, recipient, at, free)
	}
	t.dirty.Store(true)
	t.o.Metrics.deferred.Inc()
	return Decision{
		First: time.Unix(w.first, 0).UTC(), Retry: time.Unix(w.first, 0).UTC().Add(t.o.Wait),
		Attempts: w.attempt(recipient, at),
	}
}

// Peek says what Check would, and changes nothing.
func (t *Table) Peek(s Sender, to message.Address, now time.Time) Decision {
	site, spf := t.secret.poolNames(s)
	free, _ := t.known.get(site, now)
	if bySPF, _ := t.known.get(spf, now); bySPF || !t.o.Enabled {
		free = true
	}
	bySite, bySPF := t.secret.waitNames(s)
	at, recipient := now.Unix(), t.toHash(to)

	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.queue.look(bySite, bySPF)
	if w != nil && at-w.first >= whole(t.o.Window) {
		w = nil
	}
	if w == nil {
		if free {
			return Decision{Pass: true, Attempts: 1}
		}
		first := time.Unix(at, 0).UTC()
		return Decision{First: first, Retry: first.Add(t.o.Wait), Attempts: 1}
	}
	return t.answer(w, recipient, at, free)
}

// answer is what another attempt of a waiting sender would be told.
func (t *Table) answer(w *waiter, to hash, at int64, free bool) Decision {
	d := Decision{Pass: free || at-w.first >= whole(t.o.Wait), Attempts: 1}
	h := w.message(to)
	if h != nil {
		d.Attempts = int(h.attempts) + 1
	}
	switch {
	case !d.Pass:
		d.First = time.Unix(w.first, 0).UTC()
		d.Retry = d.First.Add(t.o.Wait)
	case h != nil:
		d.First = time.Unix(h.first, 0).UTC()
		d.Waited = max(time.Duration(at-h.first)*time.Second, 0)
	}
	return d
}

// pass lets an attempt of a waiting sender through. free says that it did not
// have to wait; then only a message that was held before shows that the sender
// came back.
func (t *Table) pass(w *waiter, to hash, at int64, free bool) Decision {
	t.o.Metrics.passed.Inc()
	d := Decision{Pass: true, Attempts: 1}
	h := w.message(to)
	if w.returned == 0 && (h != nil || !free) {
		w.returned, w.last = at, at
		w.attempts++
		t.tally.returned(w)
		t.o.Metrics.returned.Inc()
		t.dirty.Store(true)
	}
	if h == nil {
		return d
	}
	h.passed = true
	h.attempts++
	t.dirty.Store(true)
	d.First, d.Attempts = time.Unix(h.first, 0).UTC(), int(h.attempts)
	d.Waited = max(time.Duration(at-h.first)*time.Second, 0)
	return d
}

// whole is a time in seconds, as the table counts.
func whole(d time.Duration) int64 { return int64(d / time.Second) }

// expire forgets the senders whose window has passed.
func (t *Table) expire(at int64) {
	for w := t.queue.first; w != nil && at-w.first >= whole(t.o.Window); w = t.queue.first {
		t.forget(w)
	}
}

// room makes room for another waiting sender: at the bound the window shrinks,
// down to windowMin. false means that there is none.
func (t *Table) room(at int64) bool {
	if t.queue.count < t.o.MaxWaiting {
		return true
	}
	w := t.queue.first
	if w == nil || at-w.first < whole(min(windowMin, t.o.Window)) {
		t.tally.day(at).Unasked++
		return false
	}
	t.forget(w)
	return true
}

// forget drops a sender whose time is over.
func (t *Table) forget(w *waiter) {
	t.queue.remove(w)
	t.dirty.Store(true)
	if w.returned == 0 {
		t.tally.lost(w)
		t.o.Metrics.lost.Inc()
		return
	}
	if !w.accepted {
		t.tally.ended(w)
	}
	for _, h := range w.held {
		if !h.passed {
			t.tally.day(w.first).Unseen++
		}
	}
}

// Header returns the header field, with its CRLF, that tells the recipient of
// the delay, or "" if there was none.
func (t *Table) Header(d Decision, host string, now time.Time) string {
	if !d.Pass || d.Waited < time.Second {
		return ""
	}
	return fmt.Sprintf("X-Greylist: delayed %d seconds by %s (first seen %s, attempts %d)\r\n",
		int64(d.Waited/time.Second), host, d.First.UTC().Format(time.RFC3339), d.Attempts)
}
