package tlspolicy

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Resolver answers questions to the DNS; *dns.Client is one.
type Resolver interface {
	Lookup(ctx context.Context, q dns.Question) dns.Answer
}

// Options of [Policies]. The zero value of each field has a default.
type Options struct {
	// Dial opens connections to hosts that serve MTA-STS policies; nil: no
	// policy is fetched, and only those of the file apply.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// AllowNetworks are networks of this site where policy hosts may be,
	// though private, loopback or otherwise of no use in the Internet.
	AllowNetworks []netip.Prefix
	// Roots are the authorities; the system's if nil.
	Roots *x509.CertPool
	// FS and Path are where MTA-STS policies are kept; in memory only if Path
	// is "".
	FS      sys.FS
	Path    string
	NoDANE  bool // look for no TLSA records
	NoSTS   bool // look for no MTA-STS policies
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

// Metrics of [Policies].
type Metrics struct{}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics { return &Metrics{} }

// Policies finds the policies of domains.
type Policies struct {
	o Options
	r Resolver
}

// New makes Policies and reads what is kept in the file.
func New(o Options, r Resolver) (*Policies, error) { return &Policies{o: o, r: r}, nil }

// Run keeps the policies fresh and the file written until ctx ends.
func (p *Policies) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// MX is what the question for a domain's mail exchangers brought.
type MX struct {
	Domain message.Domain // of the recipients
	// Target is Answer.Target of the question.
	Target string
	// Authentic is Answer.Authentic, whether there were MX records or none
	// (and the domain itself is the host).
	Authentic bool
	Port      uint16 // of the hosts; 25 if 0
}

// Decision is what applies to a domain. It does not change, and holds for one
// attempt.
type Decision struct {
	p  *Policies
	mx MX
}

// For finds what applies to a domain. The error is that of ctx or another
// reason why nobody can say now: no delivery must be tried.
func (p *Policies) For(ctx context.Context, mx MX) (*Decision, error) {
	return &Decision{p: p, mx: mx}, nil
}

// Host finds the policy for one of the domain's mail exchangers. An error is a
// *Failure, or that of ctx: this host must not be used now, another may be; if
// none is left, delivery is to be tried later.
func (d *Decision) Host(ctx context.Context, host string) (*Policy, error) {
	return &Policy{Domain: d.mx.Domain, Host: host}, nil
}


// Route gives the policy for a route's next hop: Opportunistic, Encrypt or
// Verify.
func (p *Policies) Route(host string, level Kind) *Policy { return &Policy{Kind: level, Host: host} }
