package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// level is what TLS with a hop has to be like. A password goes to nobody who
// has not shown who he is.
func (h *Hop) level() tlspolicy.Kind {
	switch {
	case h.User != "", h.TLS == Require:
		return tlspolicy.Verify
	case h.Scheme == SMTPS:
		return tlspolicy.Encrypt
	}
	return tlspolicy.Opportunistic
}

// word names the policy in the trace.
func (p *peer) word() string { return p.policy.Describe() }

// without says in the trace why there is no TLS, and whose policy that is
// against.
func (p *peer) without(why string) string {
	if p.policy.Kind == tlspolicy.Opportunistic && !p.policy.Waived {
		return why
	}
	return p.word() + ", " + why
}

func (p *peer) security() int {
	switch {
	case p.policy.Waived:
		return securityOpportunistic
	case p.policy.Kind == tlspolicy.DANE:
		return securityDANE
	case p.policy.Kind == tlspolicy.STS:
		return securitySTS
	case p.policy.Must():
		return securityRequired
	}
	return securityOpportunistic
}

// config is for one handshake.
func (d *Delivery) config(p *peer) *tls.Config {
	c := p.policy.Config()
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = d.sessions
	}
	return c
}

// wrap begins with TLS, RFC 8314 §3.3.
func (d *Delivery) wrap(ctx context.Context, p *peer, nc net.Conn) (net.Conn, *broken) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Times.Connect)
	defer cancel()
	s := tls.Client(nc, d.config(p))
	if err := s.HandshakeContext(ctx); err != nil {
		d.o.Metrics.tls[securityFailed].Inc()
		return nil, p.untrusted(err).because(err)
	}
	return s, nil
}

// startTLS secures a connection as its policy wants it. nil is no objection to
// going on, with TLS or without.
func (d *Delivery) startTLS(ctx context.Context, p *peer, c *conn, nc net.Conn, plain bool) *broken {
	must := p.policy.Must() || p.strict
	switch {
	case plain:
		c.tls, c.fallen = p.word()+", handshake failed", true
		return nil
	case p.hop != nil && p.hop.TLS == Never && !must:
		c.tls = "none wanted"
		return nil
	case !c.c.Extensions().StartTLS:
		d.observe(p, c, nc, p.policy.NotOffered())
		if !must {
			return nil
		}
		d.o.Metrics.tls[securityFailed].Inc()
		return p.insecure("4.7.10", "The host offers no TLS, which is required (%s).", p.word()).at(c.via, p.word()+", none offered").because(smtp.ErrNotOffered)
	}
	err := c.c.StartTLS(ctx, d.config(p))
	if err == nil {
		state, _ := c.c.TLS()
		d.observe(p, c, nc, p.policy.Check(state))
		return nil
	}
	var r *smtp.Reply
	switch {
	case errors.As(err, &r):
		if r.Code != 421 && !must && c.c.Usable() { // it has said no, and goes on in the clear
			d.observe(p, c, nc, p.policy.Failure(err))
			c.tls = p.without("offered and refused")
			return nil
		}
		d.o.Metrics.tls[securityFailed].Inc()
		f := refusedBy(r, queue.Down, "The host refused TLS.")
		f.state = fate.Deferred
		if p.alone {
			f.health = queue.Up
		}
		return f.at(c.via, p.word()).because(err)
	case errors.Is(err, smtp.ErrClientTLS):
		d.o.Metrics.tls[securityFailed].Inc()
		d.observe(p, c, nc, p.policy.Failure(err))
		return p.untrusted(err).because(err)
	}
	f := lost(ctx, err, "starting TLS")
	if p.alone && f.health == queue.Down {
		f.health = queue.Busy // it spoke, and may do so with others
	}
	return f.because(err)
}

// untrusted is for a host whose certificate the policy refuses, or that cannot
// do TLS.
func (p *peer) untrusted(err error) *failure {
	f := p.insecure("4.7.5", "TLS with the host failed (%s).", p.policy.Failure(err))
	var refused *tlspolicy.Failure
	if p.alone && !errors.As(err, &refused) { // it may have been the network
		f = later("4.7.5", queue.Busy, "TLS with the host failed (%s).", p.policy.Failure(err))
	}
	return f.at(p.via(), p.word()+", failed")
}

// observe tells how TLS came out with an MX host.
func (d *Delivery) observe(p *peer, c *conn, nc net.Conn, f *tlspolicy.Failure) {
	if p.policy.Waived {
		d.waived(p, f)
	}
	if d.o.Observe == nil || p.hop != nil {
		return
	}
	s := tlspolicy.Session{Policy: p.policy, Failure: f, Remote: p.addr.Addr(), Helo: cut(c.c.Peer(), smtp.HeloMax), Report: p.report}
	if local, err := netip.ParseAddrPort(fmt.Sprint(nc.LocalAddr())); err == nil {
		s.Local = local.Addr()
	}
	d.o.Observe(s)
}

// waived leaves a trace for the operator where mail goes on for TLS-Required: No
// alone.
func (d *Delivery) waived(p *peer, f *tlspolicy.Failure) {
	if f == nil {
		f = p.policy.Trouble
	}
	if f != nil {
		d.o.Log.Info("mail goes on without the TLS that its domain asks for, since it says TLS-Required: No",
			telemetry.Domain, string(p.policy.Domain), telemetry.Addr, p.via(), telemetry.Err, f)
	}
}
