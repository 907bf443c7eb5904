package relay

import (
	"context"
	"errors"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// stranger is the client that a probe claims to come from: an address of
// TEST-NET-1 (RFC 5737), which no inner server trusts.
func (r *Relay) stranger() *smtp.Envelope {
	return &smtp.Envelope{
		Session: "probe", RemoteIP: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Port: 25, Helo: r.o.Hostname, Protocol: "ESMTP",
	}
}

// Probe asks the inner server, on a connection of its own, what it offers, and
// whether it would relay for a stranger. It returns why it cannot be used.
func (r *Relay) Probe(ctx context.Context) error {
	c, err := r.connect(ctx, r.stranger())
	if err != nil {
		return r.failed(ctx, err)
	}
	defer c.close()
	offer := Offer{EightBitMIME: c.x.EightBitMIME, SMTPUTF8: c.x.SMTPUTF8, DSN: c.x.DSN}
	if c.x.SizeMax > headersRoom {
		offer.SizeMax = c.x.SizeMax - headersRoom
	}
	open, err := r.relays(ctx, c)
	if err != nil {
		return r.failed(ctx, err)
	}
	if r.open.Swap(open) != open {
		if open {
			r.o.Log.Error("the inner server relays for strangers: it gets no mail until it stops, or until the domains are listed", telemetry.Addr, r.o.To)
		} else {
			r.o.Log.Info("the inner server relays for strangers no more", telemetry.Addr, r.o.To)
		}
	}
	r.mu.Lock()
	changed := !r.probed || r.offer != offer
	r.offer, r.probed = offer, true
	r.mu.Unlock()
	if changed && r.o.Offered != nil {
		r.o.Offered(offer)
	}
	r.outcome(true, nil)
	_, _ = c.command(ctx, r.o.Times.Banner, "QUIT") // it would be as well without
	if open {
		return misfit(errOpen)
	}
	return nil
}

// failed notes why a probe failed: one is enough. What is said to a stranger
// is no reason.
func (r *Relay) failed(ctx context.Context, err error) error {
	if ctx.Err() == nil && (errors.Is(err, errAway) || errors.Is(err, errMisfit)) {
		for range downAfter {
			r.outcome(false, err)
		}
	}
	return err
}

// relays asks whether the inner server would send a stranger's mail to another
// host. example.com is nobody's (RFC 2606).
func (r *Relay) relays(ctx context.Context, c *inner) (bool, error) {
	if err := r.introduce(ctx, c, r.stranger()); err != nil {
		var re *smtp.Reply
		if errors.Is(err, errMisfit) || !errors.As(err, &re) {
			return false, err
		}
		return false, nil // it wants no stranger at all
	}
	if len(r.o.Domains) > 0 {
		return false, nil
	}
	for _, line := range [...]string{"MAIL FROM:<>", "RCPT TO:<relay-test@example.com>"} {
		re, err := c.command(ctx, r.o.Times.Command, line)
		if err != nil {
			return false, unreachable(err)
		}
		if !re.Positive() {
			return false, nil
		}
	}
	return true, nil
}
