package greylist

import (
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// windowMin is how long a waiting sender is kept when there are more than
	// MaxWaiting: servers that retry at all have done so after 4 hours (RFC
	// 5321 §4.5.4.1 asks for two tries in the first hour). If even that is too
	// long, new senders pass.
	windowMin = 4 * time.Hour
	textMax   = 128 // octets kept of a name or address, for the report
	heldMax   = 16  // messages remembered of one waiting sender; more get no header
)

// waiter is a sender that was told to come back.
type waiter struct {
	bySite, bySPF hash // names that it is found by; 0 is none
	next, prev    *waiter
	in            bool // it is in the list

	first, last int64 // seconds since 1970
	returned    int64 // when it came back after its wait; 0: not yet
	attempts    uint32
	accepted    bool
	addr        netip.Addr // of the first attempt
	who         string     // sender domain, recipient and HELO of the first attempt, with NUL between
	held        []held
}

// held is a message that was deferred: one of the sender to a recipient.
type held struct {
	to       hash
	first    int64
	attempts uint32
	passed   bool // it was let through and may be accepted
}

// queue holds the waiters, oldest first, and finds them by their names. Its
// owner's mutex guards it.
type queue struct {
	byName      map[hash]*waiter
	first, last *waiter
	count       int
}

// look finds a waiter by either name.
func (q *queue) look(bySite, bySPF hash) *waiter {
	if bySPF != 0 {
		if w := q.byName[bySPF]; w != nil {
			return w
		}
	}
	return q.byName[bySite]
}

// find is look, and remembers a name that the waiter did not have.
func (q *queue) find(bySite, bySPF hash) (w *waiter, named bool) {
	w = q.look(bySite, bySPF)
	if w != nil && w.bySPF == 0 && bySPF != 0 {
		// At its first attempt DNS did not say that SPF authorises it.
		w.bySPF = bySPF
		q.byName[bySPF] = w
		return w, true
	}
	return w, false
}

func (q *queue) add(w *waiter) {
	for _, h := range []hash{w.bySite, w.bySPF} {
		if h != 0 && q.byName[h] == nil {
			q.byName[h] = w
		}
	}
	w.in, w.prev = true, q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.count++
}

func (q *queue) remove(w *waiter) {
	for _, h := range []hash{w.bySite, w.bySPF} {
		if q.byName[h] == w {
			delete(q.byName, h)
		}
	}
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.in, w.next, w.prev = false, nil, nil
	q.count--
}

// message finds a held message by its recipient.
func (w *waiter) message(to hash) *held {
	for i := range w.held {
		if w.held[i].to == to {
			return &w.held[i]
		}
	}
	return nil
}

// attempt notes that a message was deferred and returns how often it was.
func (w *waiter) attempt(to hash, now int64) int {
	w.attempts++
	w.last = now
	h := w.message(to)
	if h == nil {
		if len(w.held) >= heldMax {
			return 1
		}
		w.held = append(w.held, held{to: to, first: now})
		h = &w.held[len(w.held)-1]
	}
	h.attempts++
	return int(h.attempts)
}

// settle forgets the messages that were let through: one was accepted.
func (w *waiter) settle() {
	rest := w.held[:0]
	for _, h := range w.held {
		if !h.passed {
			rest = append(rest, h)
		}
	}
	w.held = rest
}

func (w *waiter) toCase() Case {
	domain, rest, _ := strings.Cut(w.who, "\x00")
	to, helo, _ := strings.Cut(rest, "\x00")
	c := Case{
		First: time.Unix(w.first, 0).UTC(), Last: time.Unix(w.last, 0).UTC(), Attempts: int(w.attempts),
		From: domain, To: to, Helo: helo, Addr: w.addr,
	}
	if w.returned != 0 {
		c.Waited = seconds(w.returned - w.first)
	}
	return c
}

// who joins what the report says about a sender.
func who(s Sender, to message.Address) string {
	return clean(string(s.Domain)) + "\x00" + clean(to.String()) + "\x00" + clean(s.Helo)
}

// clean makes a stranger's text fit for a file and a terminal.
func clean(s string) string {
	if len(s) > textMax {
		s = s[:textMax]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
