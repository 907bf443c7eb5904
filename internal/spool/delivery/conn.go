package delivery

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// peer is one address of one host, and what TLS with it has to be like.
type peer struct {
	host   string
	addr   netip.AddrPort
	hop    *Hop // nil of an MX host
	policy *tlspolicy.Policy
	strict bool          // the message has REQUIRETLS
	alone  bool          // and nobody else demands TLS of the host
	report bool          // the message is a report on TLS
	wait   time.Duration // for the connection
}

// key tells connections apart: one may be used for another message only if it
// would have been made in the same way.
func (p *peer) key() string {
	parts := []string{
		p.host, p.where(), p.policy.Kind.String(), string(p.policy.Domain), p.policy.Host,
		strconv.FormatBool(p.policy.Testing), strconv.FormatBool(p.policy.Waived), strings.Join(p.policy.Text, "\n"),
	}
	if p.policy.Kind == tlspolicy.Opportunistic {
		parts = parts[:3] // whose mail it is makes no difference
	}
	if p.hop != nil {
		parts = append(parts, p.hop.String(), p.hop.User, p.hop.Password, strconv.Itoa(int(p.hop.TLS)))
	}
	return strings.Join(parts, "\x00")
}

// where is the address, or the path of the socket.
func (p *peer) where() string {
	if p.local() {
		return p.hop.Socket
	}
	return p.addr.String()
}

// gate is what connections are bounded by: one server that hangs leaves others
// on the same machine alone.
func (p *peer) gate() string {
	if p.local() {
		return p.hop.Socket
	}
	return net.JoinHostPort(p.host, strconv.Itoa(int(p.addr.Port())))
}

// local reports whether mail to the peer leaves this machine only by what takes
// it.
func (p *peer) local() bool { return p.hop != nil && p.hop.Socket != "" }

func (p *peer) via() string {
	if p.local() {
		return p.host + " [" + p.hop.Socket + "]"
	}
	return p.host + " [" + p.addr.Addr().String() + "]:" + strconv.Itoa(int(p.addr.Port()))
}

// connect takes an idle connection to a peer, or makes one.
func (d *Delivery) connect(ctx context.Context, p *peer, fresh bool) (*conn, *failure) {
	if !fresh {
		if c := d.pool.take(p.key()); c != nil {
			d.o.Metrics.connections[wayReused].Inc()
			return c, nil
		}
	}
	plain := d.plain.is(p.key(), d.o.Clock.Now())
	c, f := d.open(ctx, p, plain)
	if f != nil && !plain && ctx.Err() == nil && errors.Is(f.err, smtp.ErrClientTLS) && !p.policy.Must() && !p.strict && !p.secure() {
		// RFC 7435: better in the clear than not at all, where nobody asked
		// for more. The server has lost track of the connection by now.
		d.plain.note(p.key(), d.o.Clock.Now())
		c, f = d.open(ctx, p, true)
	}
	if f != nil {
		d.o.Metrics.connections[wayFailed].Inc()
		if f.silent() {
			d.deaf.note(p.where(), d.o.Clock.Now())
		}
		return nil, &f.failure
	}
	d.deaf.forget(p.where())
	d.o.Metrics.connections[wayMade].Inc()
	return c, nil
}

// secure reports whether the way to a hop is worth nothing without TLS.
func (p *peer) secure() bool { return p.hop != nil && (p.hop.Scheme == SMTPS || p.hop.User != "") }

// broken is a failure of a connection, with what was behind it.
type broken struct {
	failure
	err error
}

func (f *failure) because(err error) *broken { return &broken{failure: *f, err: err} }

// open makes a connection and greets.
func (d *Delivery) open(ctx context.Context, p *peer, plain bool) (*conn, *broken) {
	dctx, cancel := context.WithTimeout(ctx, p.wait)
	nc, err := d.dial(dctx, p)
	cancel()
	if err != nil {
		if ctx.Err() != nil {
			return nil, interrupted().because(err)
		}
		return nil, p.unreached(err).at(p.via(), "").because(err)
	}
	c, f := d.greet(ctx, p, nc, plain)
	if f != nil {
		_ = nc.Close() // it is of no use
		f.at(p.via(), f.tls)
		return nil, f
	}
	return c, nil
}

func (d *Delivery) dial(ctx context.Context, p *peer) (net.Conn, error) {
	switch {
	case p.local():
		return new(net.Dialer).DialContext(ctx, "unix", p.hop.Socket)
	case p.addr.Addr().Is6():
		return d.o.Dial(ctx, d.o.Source6, p.addr)
	}
	return d.o.Dial(ctx, d.o.Source4, p.addr)
}

// greet does all that comes before MAIL.
func (d *Delivery) greet(ctx context.Context, p *peer, nc net.Conn, plain bool) (*conn, *broken) {
	implicit := p.hop != nil && p.hop.Scheme == SMTPS
	if implicit {
		s, f := d.wrap(ctx, p, nc)
		if f != nil {
			return nil, f
		}
		nc = s
	}
	c := &conn{host: p.host, key: p.key(), via: p.via(), tls: p.without("none offered")}
	c.c = smtp.NewClient(nc, smtp.ClientOptions{
		Hostname: d.o.Hostname, LMTP: p.hop != nil && p.hop.Scheme == LMTP, Now: d.o.Clock.Now,
		Times: d.o.Times.SMTP, Chunking: !d.o.NoChunking && !d.dotted.is(p.where(), d.o.Clock.Now()),
	})
	if err := c.c.Hello(ctx); err != nil {
		return nil, p.unwelcome(ctx, err)
	}
	if !implicit {
		if f := d.startTLS(ctx, p, c, nc, plain); f != nil {
			return nil, f
		}
	}
	if name := c.c.Peer(); p.hop == nil && strings.Contains(name, ".") && d.ours(name) {
		f := never("5.4.6", queue.Up, "Mail would come back to this host: %s calls itself %s, which is our name, but the domain is not one of ours.", p.host, name)
		f.us = true
		return nil, f.at(c.via, c.tls).because(nil)
	}
	if state, ok := c.c.TLS(); ok {
		c.tls = p.word() + ", " + tls.VersionName(state.Version)
		d.o.Metrics.tls[p.security()].Inc()
	} else {
		d.o.Metrics.tls[securityNone].Inc()
	}
	if p.hop == nil || p.hop.User == "" {
		return c, nil
	}
	return c, d.login(ctx, p, c)
}

// unwelcome is for a host that takes no session. A refusal here is the host's
// own, and another one may think otherwise; that of a next hop means that the
// operator of one of the two has to mend something.
func (p *peer) unwelcome(ctx context.Context, err error) *broken {
	var r *smtp.Reply
	if !errors.As(err, &r) {
		return lost(ctx, err, "greeting us").because(err)
	}
	f := refusedBy(r, queue.Busy, "The host does not want to talk to us now.")
	if f.state == fate.Bounced {
		f.health, f.reason = queue.Up, "The host does not want to talk to us."
		if p.hop != nil || p.policy.Must() { // where TLS is a must, nobody has shown yet who says so
			f.state, f.health = fate.Deferred, queue.Down
		}
	}
	return f.because(err)
}

// login tells a next hop who we are.
func (d *Delivery) login(ctx context.Context, p *peer, c *conn) *broken {
	var nonce [18]byte
	if _, err := io.ReadFull(d.o.Rand, nonce[:]); err != nil {
		return later("4.3.0", queue.Unknown, "No randomness for a login could be had.").at(c.via, c.tls).because(err)
	}
	err := c.c.Auth(ctx, smtp.Login{User: p.hop.User, Password: p.hop.Password, Nonce: base64.RawStdEncoding.EncodeToString(nonce[:])})
	var r *smtp.Reply
	var f *failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		f = refusedBy(r, queue.Down, "The next hop refused our login: see relay_user and its password.")
		f.state = fate.Deferred // it is not the message's fault
	case errors.Is(err, smtp.ErrClientPlain), errors.Is(err, smtp.ErrMechanism), errors.Is(err, smtp.ErrClientScram):
		f = later("4.7.0", queue.Down, "No login at the next hop: %s.", err)
	default:
		f = lost(ctx, err, "logging in")
	}
	return f.at(c.via, c.tls).because(err)
}
