package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/edge/relay"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// namesMax is how many names of an address are looked up: RFC 7208 §5.5 has
// the same bound.
const namesMax = 10

// innerServer is edge mode: what is offered on port 25 is what the server
// behind us can do, and may change.
type innerServer struct {
	*relay.Relay
	c       Config
	metrics *session.Metrics
	log     *slog.Logger
	queued  session.Mailroom // takes mail while the inner server is down; nil: it is deferred
	server  atomic.Pointer[session.Server]
	changed func(*session.Server) // tells the lobby; may be nil
}

// openInner makes the relay to the configured server; nil if there is none.
func openInner(c Config, resolver *dns.Client, reg prometheus.Registerer, log *slog.Logger) (*innerServer, error) {
	if c.Relay.To == "" {
		return nil, nil
	}
	n := &innerServer{c: c, metrics: session.NewMetrics(reg, session.MX.String()), log: log}
	o := relay.Options{
		To: c.Relay.To, Hostname: c.Hostname, MaxConns: c.Relay.MaxConns,
		RememberRefused: c.Relay.RememberRefused.Std(), Offered: n.offered,
		Log: log, Metrics: relay.NewMetrics(reg),
	}
	if o.RememberRefused == 0 {
		o.RememberRefused = -1
	}
	switch c.Relay.Facts {
	case "proxy":
		o.Facts = relay.Proxy
	case "none":
		o.Facts = relay.Unstated
	}
	switch c.Relay.StartTLS {
	case "no":
		o.StartTLS = relay.TLSNever
	case "require":
		o.StartTLS = relay.TLSRequired
	}
	var err error
	if o.Domains, err = parseDomains(c.Relay.Domains); err != nil {
		return nil, fmt.Errorf("relay.domains: %w", err)
	}
	if o.TLS, err = c.innerTLS(); err != nil {
		return nil, fmt.Errorf("relay.ca: %w", err)
	}
	if resolver != nil {
		o.Name = func(ctx context.Context, a netip.Addr) string { return nameOf(ctx, resolver, a) }
	}
	if n.Relay, err = relay.New(o); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	n.offered(relay.Offer{}) // until it has been asked: the least
	return n, nil
}

// Open implements session.Mailroom.
func (n *innerServer) Open(ctx context.Context, e *session.Envelope) (session.Transaction, error) {
	if n.queued == nil || n.Up() {
		return n.Relay.Open(ctx, e)
	}
	t, err := n.queued.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	return keptTransaction{t, n.Relay}, nil
}

// keptTransaction takes mail for a server that is down. What it has said of a
// recipient lately holds.
type keptTransaction struct {
	session.Transaction
	relay *relay.Relay
}

// Recipient implements session.Transaction.
func (t keptTransaction) Recipient(ctx context.Context, to message.Address) error {
	if exists, sure := t.relay.Known(to); sure && !exists {
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user here: " + to.String()}
	}
	return t.Transaction.Recipient(ctx, to)
}

// behind tells whether a domain is the inner server's.
func (c *Config) behind(d message.Domain) bool {
	return c.Relay.To != "" && slices.ContainsFunc(c.Relay.Domains, func(s string) bool {
		ours, err := message.ParseDomain(s)
		return err == nil && ours == d
	})
}

// offered makes the sessions from now on offer what the inner server can do.
func (n *innerServer) offered(offer relay.Offer) {
	o := n.c.sessionOptions(session.MX)
	o.RequireTLS = false // nobody says that the inner server keeps that promise
	o.Without8Bit, o.WithoutUTF8, o.WithoutDSN = !offer.EightBitMIME, !offer.SMTPUTF8, !offer.DSN
	if offer.SizeMax > 0 {
		o.MessageSize = min(o.MessageSize, offer.SizeMax)
	}
	o.Log, o.Metrics = n.log, n.metrics
	s := session.New(o, n, nil)
	n.server.Store(s)
	if n.changed != nil {
		n.changed(s)
	}
}

// innerTLS has the authorities of relay.ca; nil: the system's.
func (c *Config) innerTLS() (*tls.Config, error) {
	if c.Relay.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.DirPath(c.Relay.CA))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", c.Relay.CA)
	}
	host, _, err := net.SplitHostPort(c.Relay.To)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}, nil
}

func parseDomains(names []string) ([]message.Domain, error) {
	var out []message.Domain
	for _, name := range names {
		d, err := message.ParseDomain(name)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// nameOf returns the name that an address leads to and that leads back to it.
func nameOf(ctx context.Context, r *dns.Client, a netip.Addr) string {
	t := dns.A
	if a.Is6() {
		t = dns.AAAA
	}
	names := r.Lookup(ctx, dns.Question{Name: reverse(a), Type: dns.PTR}).Names
	for _, name := range names[:min(len(names), namesMax)] {
		if slices.Contains(r.Lookup(ctx, dns.Question{Name: name, Type: t}).Addrs, a) {
			return name
		}
	}
	return ""
}

// reverse is the name of an address in the DNS, RFC 1035 §3.5, RFC 3596 §2.5.
func reverse(a netip.Addr) string {
	if a.Is6() {
		return dns.ReverseName(a) + ".ip6.arpa"
	}
	return dns.ReverseName(a) + ".in-addr.arpa"
}
