package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// take returns a connection on which MAIL may be said for e. reused is true of
// one that the inner server may have closed already.
func (r *Relay) take(ctx context.Context, e *smtp.Envelope, fresh bool) (c *inner, reused bool, err error) {
	if r.down() {
		return nil, false, away()
	}
	if err := r.slot(ctx); err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			r.drop(c)
		}
	}()
	if !fresh {
		if c = r.idling(client(e)); c != nil {
			if err := r.introduce(ctx, c, e); err == nil && !c.bad {
				r.o.Metrics.reused.Inc()
				return c, true, nil
			}
			c.close()
		}
	}
	c, err = r.dial(ctx, e)
	return c, false, err
}

// slot waits for the right to use a connection.
func (r *Relay) slot(ctx context.Context) error {
	select {
	case r.slots <- struct{}{}:
		r.o.Metrics.busy.Inc()
		return nil
	default:
	}
	select {
	case r.slots <- struct{}{}:
		r.o.Metrics.busy.Inc()
		return nil
	case <-r.o.Clock.After(r.o.Times.Slot):
		return &smtp.Reply{Code: 451, Enhanced: "4.3.2", Text: "The mail server is busy, try again later"}
	case <-ctx.Done():
		return gone(ctx.Err())
	}
}

// drop closes a connection, which may be nil, and gives its slot back.
func (r *Relay) drop(c *inner) {
	if c != nil {
		c.close()
	}
	r.o.Metrics.busy.Dec()
	<-r.slots
}

// put keeps a connection for the next transaction, if it is worth it.
func (r *Relay) put(c *inner) {
	if c.bad || len(c.in) > 0 {
		r.drop(c)
		return
	}
	now := r.o.Clock.Now()
	c.rest(now)
	r.mu.Lock()
	r.idle = append(r.idle, c)
	over := r.trim(now, r.o.MaxIdle)
	r.mu.Unlock()
	closeAll(over)
	r.o.Metrics.busy.Dec()
	<-r.slots
}

// idling takes an idle connection: one that knows the client, or, where others
// can be told of it, the one that was used last.
func (r *Relay) idling(who string) *inner {
	r.mu.Lock()
	over := r.trim(r.o.Clock.Now(), r.o.MaxIdle)
	at := len(r.idle) - 1
	for i, c := range r.idle {
		if c.who == who {
			at = i
			break
		}
	}
	var c *inner
	if at >= 0 && (r.o.Facts != Proxy || r.idle[at].who == who) {
		c = r.idle[at]
		r.idle = append(r.idle[:at], r.idle[at+1:]...)
		r.o.Metrics.idle.Set(float64(len(r.idle)))
	}
	r.mu.Unlock()
	closeAll(over)
	return c
}

// trim takes out those idle connections that are too old or too many; they are
// to be closed. r.mu is held.
func (r *Relay) trim(now time.Time, most int) (over []*inner) {
	for len(r.idle) > 0 && (len(r.idle) > most || now.Sub(r.idle[0].since) >= r.o.IdleFor) {
		over = append(over, r.idle[0])
		r.idle[0] = nil
		r.idle = r.idle[1:]
	}
	r.o.Metrics.idle.Set(float64(len(r.idle)))
	return over
}

func closeAll(cs []*inner) {
	for _, c := range cs {
		c.close()
	}
}

// dial makes a connection for a client. Its failures tell whether the inner
// server is down.
func (r *Relay) dial(ctx context.Context, e *smtp.Envelope) (*inner, error) {
	r.mu.Lock()
	// Those in use, this one with them, and the idle ones.
	over := r.trim(r.o.Clock.Now(), max(0, min(r.o.MaxIdle, r.o.MaxConns-len(r.slots))))
	r.mu.Unlock()
	closeAll(over)
	c, err := r.connect(ctx, e)
	if ctx.Err() == nil {
		r.outcome(!errors.Is(err, errAway), err)
	}
	if err == nil {
		if err = r.introduce(ctx, c, e); err != nil {
			c.close()
		}
	}
	if err != nil {
		r.o.Metrics.dialled[0].Inc()
		return nil, err
	}
	r.o.Metrics.dialled[1].Inc()
	return c, nil
}

// connect makes a connection that has greeted, with TLS if that is to be. A
// server whose TLS is broken is spoken to without, where that is allowed, and
// asked for it again by the next probe.
func (r *Relay) connect(ctx context.Context, e *smtp.Envelope) (*inner, error) {
	now := r.o.Clock.Now().UnixNano()
	secure := r.o.StartTLS == TLSRequired || r.o.StartTLS == TLSIfOffered && now >= r.plainUntil.Load()
	c, err := r.greet(ctx, e, secure)
	if errors.Is(err, errTLS) && r.o.StartTLS == TLSIfOffered {
		r.o.Log.Warn("TLS to the inner server failed: going on without", telemetry.Err, err)
		r.plainUntil.Store(now + int64(r.o.ProbeEvery))
		return r.greet(ctx, e, false)
	}
	return c, err
}

// errTLS is wrapped by connect when the handshake has failed.
var errTLS = errors.New("TLS handshake with the inner server")

// greet makes a connection and gets as far as the answer to EHLO.
func (r *Relay) greet(ctx context.Context, e *smtp.Envelope, secure bool) (_ *inner, err error) {
	dialled, cancel := context.WithTimeout(ctx, r.o.Times.Connect)
	nc, err := r.o.Dial(dialled, "tcp", r.o.To)
	cancel()
	if err != nil {
		return nil, unreachable(fmt.Errorf("connect: %w", err))
	}
	c := &inner{nc: nc, clock: r.o.Clock}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	name := r.o.Hostname
	if r.o.Facts == Proxy {
		c.out = proxyHeader(e, nc)
		if err := c.send(ctx, r.o.Times.Banner); err != nil {
			return nil, r.early(err)
		}
		c.who, name = client(e), helo(e)
	}
	banner, err := c.reply(ctx, r.o.Times.Banner)
	switch {
	case err != nil:
		return nil, r.early(err)
	case banner.Code/100 == 5 && r.o.Facts != Proxy: // it is us that it refuses
		return nil, misfit(said(&banner))
	case banner.Code == 421 && r.o.Facts != Proxy:
		return nil, unreachable(said(&banner))
	case banner.Code != 220:
		return nil, verdict(&banner)
	}
	if err := r.hello(ctx, c, name); err != nil {
		return nil, err
	}
	if secure {
		if err := r.secure(ctx, c, name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// early is for a connection that is lost before it was of use. Where the inner
// server knows the client by then, it may have hung up on that one; only
// silence is its own.
func (r *Relay) early(err error) error {
	if r.o.Facts == Proxy && !errors.Is(err, os.ErrDeadlineExceeded) {
		return gone(err)
	}
	return unreachable(err)
}

// secure starts TLS where that is wanted and offered.
func (r *Relay) secure(ctx context.Context, c *inner, name string) error {
	if !c.x.StartTLS {
		if r.o.StartTLS == TLSRequired {
			return unreachable(errNoTLS)
		}
		return nil
	}
	if err := c.startTLS(ctx, r.o.Times.Banner, r.o.TLS); err != nil {
		if !c.bad && r.o.StartTLS == TLSIfOffered { // it has said no, and goes on in the clear
			return nil
		}
		return unreachable(fmt.Errorf("%w: %w", errTLS, err))
	}
	return r.hello(ctx, c, name)
}
