package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Relay is a session.Mailroom in front of an inner SMTP server.
type Relay struct {
	o        Options
	slots    chan struct{} // one in it for each connection in use
	verifier verifier
	wake     chan struct{} // tells Run that the inner server went down

	mu       sync.Mutex
	idle     []*inner // the oldest first
	failures int      // connections that failed in a row
	away     bool     // the inner server is down
	offer    Offer
	probed   bool        // offer is known
	open     atomic.Bool // the inner server relays for strangers

	plainUntil atomic.Int64 // when TLS that failed is tried again, Unix nanoseconds
}

// New makes a Relay. It asks nothing yet: Probe or Run does.
func New(o Options) (*Relay, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Relay{o: o, slots: make(chan struct{}, o.MaxConns), wake: make(chan struct{}, 1)}
	r.o.Metrics.up.Set(1)
	return r, nil
}

// Open implements session.Mailroom. Only what can be said without the inner
// server is said at MAIL: its own answer to the sender is told at the first
// recipient, which is where the lobby hands sessions over.
func (r *Relay) Open(_ context.Context, e *smtp.Envelope) (session.Transaction, error) {
	offer, probed := r.Offer()
	switch {
	case r.open.Load():
		return nil, misfit(errOpen)
	case r.down():
		return nil, away()
	case !probed:
	case offer.SizeMax > 0 && e.Size > offer.SizeMax:
		return nil, &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message too big"}
	// These were offered a moment ago. What is offered next time is right
	// again, so that the sender can convert its message, or return it.
	case e.UTF8 && !offer.SMTPUTF8:
		return nil, &smtp.Reply{Code: 450, Enhanced: "4.6.7", Text: "SMTPUTF8 cannot be had just now, try again later"}
	case e.Body == smtp.Body8BitMIME && !offer.EightBitMIME:
		return nil, &smtp.Reply{Code: 450, Enhanced: "4.6.3", Text: "8BITMIME cannot be had just now, try again later"}
	}
	return &transaction{r: r, e: e}, nil
}

// Offer returns what the inner server can do, if it has ever answered.
func (r *Relay) Offer() (o Offer, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offer, r.probed
}

// Known reports whether a recipient exists, as far as the inner server said so
// lately.
func (r *Relay) Known(to message.Address) (exists, sure bool) {
	return r.verifier.knows(to, r.o.Clock.Now())
}

// Up reports whether the inner server answers.
func (r *Relay) Up() bool { return !r.down() }

func (r *Relay) down() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away
}

// outcome notes whether a connection could be made.
func (r *Relay) outcome(ok bool, err error) {
	r.mu.Lock()
	was := r.away
	if ok {
		r.failures, r.away = 0, false
	} else if r.failures++; r.failures >= downAfter {
		r.away = true
	}
	is := r.away
	r.mu.Unlock()
	switch {
	case is && !was:
		r.o.Metrics.up.Set(0)
		r.o.Log.Error("the inner server is down", telemetry.Addr, r.o.To, telemetry.Err, err)
		select {
		case r.wake <- struct{}{}:
		default: // it has been told
		}
	case was && !is:
		r.o.Metrics.up.Set(1)
		r.o.Log.Info("the inner server is back", telemetry.Addr, r.o.To)
	}
}

// Run probes the inner server at once and from time to time, more often while
// it is down, and closes idle connections. It returns when ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	defer r.closeIdle()
	pause := time.Duration(0)
	for next := r.o.Clock.Now(); ; {
		if now := r.o.Clock.Now(); !now.Before(next) {
			wait := r.o.ProbeEvery
			if err := r.Probe(ctx); err != nil {
				pause = min(max(2*pause, retryFirst), retryMax)
				wait = min(pause, wait)
			} else {
				pause = 0
			}
			next = r.o.Clock.Now().Add(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			pause = 0
			next = r.o.Clock.Now().Add(retryFirst)
		case <-r.o.Clock.After(min(r.o.IdleFor, next.Sub(r.o.Clock.Now()))):
			r.mu.Lock()
			over := r.trim(r.o.Clock.Now(), r.o.MaxIdle)
			r.mu.Unlock()
			closeAll(over)
		}
	}
}

func (r *Relay) closeIdle() {
	r.mu.Lock()
	all := r.idle
	r.idle = nil
	r.mu.Unlock()
	closeAll(all)
	r.o.Metrics.idle.Set(0)
}
