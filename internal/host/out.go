package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/dkim"
	"github.com/breakwater-mail/breakwater/internal/spool/delivery"
	"github.com/breakwater-mail/breakwater/internal/spool/intake"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/restraint"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/spool/tlsreport"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// srsSecretBytes are 128 bits: nobody guesses a sender that comes back to us.
const srsSecretBytes = 16

// out is what carries mail away.
type out struct {
	c        Config
	store    *Store
	log      *slog.Logger
	routes   []delivery.Route
	delivery *delivery.Delivery
	policies *tlspolicy.Policies
	queue    *queue.Queue
	keys     *dkim.Store
	srs      *mailauth.SRS
	learned  *restraint.Restraint
	guard    *restraint.Guard
	reports  *tlsreport.Reports // nil: none are sent
	received *tlsreport.Archive // what other hosts report
	own      *intake.Intake     // takes in what the host itself has to say
	owes     chan struct{}      // wakes who reports successes
	resolver *dns.Client        // nil: DNS is off
}

// openOut builds it. resolver is nil where DNS is off: then only routes and the
// relay lead anywhere, and what they do not cover is held.
func openOut(c Config, s *Store, resolver *dns.Client, reg prometheus.Registerer, log *slog.Logger) (*out, error) {
	hostname, err := message.ParseDomain(c.Hostname)
	if err != nil {
		return nil, fmt.Errorf("hostname: %w", err)
	}
	o := &out{c: c, store: s, owes: make(chan struct{}, 1), resolver: resolver, log: telemetry.Logger(log, "out")}
	if o.keys, err = dkim.Open(dkim.Options{Dir: c.DirPath(c.DKIM.Dir), Log: log}); err != nil {
		// The other domains' keys are there: mail of this one leaves unsigned
		// rather than nobody's leaving at all.
		o.log.Error("a signing key cannot be used", telemetry.Err, err)
	}
	if o.srs, err = c.openSRS(); err != nil {
		return nil, fmt.Errorf("srs: %w", err)
	}
	if err := o.openDelivery(resolver, reg, log); err != nil {
		return nil, err
	}
	if err := o.openGuard(reg, log); err != nil {
		return nil, err
	}
	schedule := make([]time.Duration, len(c.Queue.Retry))
	for i, d := range c.Queue.Retry {
		schedule[i] = d.Std()
	}
	o.queue = queue.New(queue.Options{
		Hostname: hostname, Bodies: s.Mailboxes, Router: o.router(),
		Max: c.Queue.MaxRecipients, Workers: c.Delivery.MaxConns, PerDestination: c.Delivery.MaxPerDestination,
		Schedule: schedule, Expire: c.Queue.Expire.Std(), Warn: c.Queue.warn(),
		Log: log, Metrics: queue.NewMetrics(reg),
	}, s.Fates, observed{o.delivery, o.guard}, o)
	s.Fates.OnUpdate(o.queue.Update)
	o.own = o.intake(intake.Options{}, log)
	return o, nil
}

// openDelivery builds what makes the attempts.
func (o *out) openDelivery(resolver *dns.Client, reg prometheus.Registerer, log *slog.Logger) error {
	d, err := o.c.deliveryOptions()
	if err != nil {
		return err
	}
	d.Log, d.Metrics = log, delivery.NewMetrics(reg)
	o.routes = d.Routes
	names := delivery.Resolver(noResolver{})
	if resolver != nil {
		names = resolver
	}
	policy := o.c.tlsOptions(resolver != nil)
	policy.FS, policy.Path, policy.Log, policy.Metrics = sys.OSFS(), o.c.DirPath("mta-sts"), log, tlspolicy.NewMetrics(reg)
	if o.policies, err = tlspolicy.New(policy, names); err != nil {
		return fmt.Errorf("delivery.mta_sts: %w", err)
	}
	if err := o.openReports(names, reg, log); err != nil {
		return err
	}
	if o.reports != nil {
		d.Observe = o.reports.Session
	}
	o.delivery = delivery.New(d, names, o.policies, func(ctx context.Context, lsn journal.LSN) (delivery.Body, error) {
		return o.store.Mailboxes.OpenMessage(ctx, lsn)
	})
	return nil
}

// deliveryOptions are what the configuration says of attempts.
func (c *Config) deliveryOptions() (d delivery.Options, err error) {
	d = delivery.Options{Hostname: c.Hostname, MaxConns: c.Delivery.MaxConns, MaxPerHost: c.Delivery.MaxPerDestination}
	if d.AllowNetworks, err = parsePrefixes(c.Delivery.AllowNetworks); err != nil {
		return d, fmt.Errorf("delivery.allow_networks: %w", err)
	}
	if d.Routes, err = c.routes(); err != nil {
		return d, fmt.Errorf("delivery.routes: %w", err)
	}
	if d.Default, err = c.relayHop(); err != nil {
		return d, err
	}
	if c.Delivery.SourceIPv4 != "" {
		d.Source4 = netip.MustParseAddr(c.Delivery.SourceIPv4) // Validate has read it
	}
	switch c.Delivery.SourceIPv6 {
	case "":
	case "off":
		d.NoIPv6 = true
	default:
		d.Source6 = netip.MustParseAddr(c.Delivery.SourceIPv6)
	}
	d.Self, d.SelfAddrs = c.self()
	return d, nil
}

// tlsOptions are what it says of the TLS policies of others.
func (c *Config) tlsOptions(dnsOn bool) tlspolicy.Options {
	networks, _ := parsePrefixes(c.Delivery.AllowNetworks) // Validate has read them
	return tlspolicy.Options{Dial: dialTCP, AllowNetworks: networks, NoSTS: !c.Delivery.MTASTS || !dnsOn, NoDANE: !dnsOn}
}

// dialTCP opens a connection for those who have no power to.
func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// self are the names and addresses that an MX record of ours may have: mail to
// them would come back here.
func (c *Config) self() (names []string, addrs []netip.Addr) {
	for _, l := range c.Listen.SMTP {
		if a, err := netip.ParseAddrPort(l); err == nil && !a.Addr().IsUnspecified() && !a.Addr().IsLoopback() {
			addrs = append(addrs, a.Addr().Unmap())
		}
	}
	// Where every address is listened on, those of the interfaces are meant.
	if len(addrs) == 0 && !onlyLoopback(c.Listen.SMTP) {
		all, err := net.InterfaceAddrs()
		if err != nil {
			return nil, nil // the name alone has to do
		}
		for _, a := range all {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
				addrs = append(addrs, p.Addr().Unmap())
			}
		}
	}
	return []string{c.Hostname}, addrs
}

// openGuard builds what restrains accounts.
func (o *out) openGuard(reg prometheus.Registerer, log *slog.Logger) (err error) {
	exempt, err := parsePrefixes(o.c.Submission.ExemptNetworks)
	if err != nil {
		return fmt.Errorf("submission.exempt_networks: %w", err)
	}
	o.learned, err = restraint.Open(sys.OSFS(), o.c.DirPath("senders"), restraint.Options{
		Hour: o.c.Submission.PerHour, Day: o.c.Submission.PerDay, LimitsOnly: !o.c.Submission.HoldSudden,
		NetworkHour: o.c.Submission.NetworkPerHour, NetworkDay: o.c.Submission.NetworkPerDay, Exempt: exempt,
		Log: log, Metrics: restraint.NewMetrics(reg),
	})
	if err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	o.guard = restraint.NewGuard(o.learned, o.store.Accounts, log)
	return nil
}

// noResolver answers where DNS is off: nobody knows.
type noResolver struct{}

// Lookup implements delivery.Resolver and tlspolicy.Resolver.
func (noResolver) Lookup(context.Context, dns.Question) dns.Answer {
	return dns.Answer{Err: errors.New("DNS is off (dns.enabled)")}
}

// routes reads delivery.routes; what was taken for a server behind this one
// goes there.
func (c *Config) routes() ([]delivery.Route, error) {
	var all []delivery.Route
	if c.Relay.To != "" && c.Relay.WhenDown == "queue" {
		r := delivery.Route{}
		for _, s := range c.Relay.Domains {
			d, err := message.ParseDomain(s)
			if err != nil {
				return nil, fmt.Errorf("relay.domains: %q: %w", s, err)
			}
			r.Domains = append(r.Domains, string(d))
		}
		var err error
		if r.Hop, err = delivery.ParseHop("smtp://" + c.Relay.To); err != nil {
			return nil, fmt.Errorf("relay.to: %w", err)
		}
		all = append(all, r)
	}
	for _, line := range c.Delivery.Routes {
		r, err := delivery.ParseRoute(line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// relayHop reads delivery.relay; nil is none.
func (c *Config) relayHop() (*delivery.Hop, error) {
	if c.Delivery.Relay == "" {
		return nil, nil
	}
	hop, err := delivery.ParseHop(c.Delivery.Relay)
	if err != nil {
		return nil, fmt.Errorf("delivery.relay: %w", err)
	}
	if c.Delivery.RelayUser == "" {
		return &hop, nil
	}
	password, err := os.ReadFile(c.DirPath(c.Delivery.RelayPasswordFile))
	if err != nil {
		return nil, fmt.Errorf("delivery.relay_password_file: %w", err)
	}
	hop.User, hop.Password = c.Delivery.RelayUser, strings.TrimRight(string(password), "\r\n")
	return &hop, nil
}

// router says where a recipient's mail goes, or why it is held.
func (o *out) router() queue.Router {
	return func(f fate.Open) (destination, hold string) {
		if f.Route != "" {
			return f.Route, ""
		}
		if hop, ok := o.delivery.Hop(f.Domain); ok {
			return hop, ""
		}
		return string(f.Domain), o.c.heldFor(false)
	}
}

// openSRS makes what rewrites senders, with a secret that is made once.
func (c *Config) openSRS() (*mailauth.SRS, error) {
	name := c.SRS.Domain
	if name == "" {
		name = c.Hostname
	}
	domain, err := message.ParseDomain(name)
	if err != nil {
		return nil, fmt.Errorf("domain: %w", err)
	}
	path := c.DirPath("srs.secret")
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, srsSecretBytes)
		if _, err := sys.Rand().Read(secret); err != nil {
			return nil, fmt.Errorf("make a secret: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("keep the secret: %w", err)
		}
		err = sys.WriteFile(path, secret, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("keep the secret: %w", err)
	}
	return mailauth.NewSRS(mailauth.SRSOptions{Domain: domain, Secrets: [][]byte{secret}, Clock: sys.RealClock()})
}

// intake makes an intake of mail that may have to be carried away.
func (o *out) intake(i intake.Options, log *slog.Logger) *intake.Intake {
	i.Hostname, i.MessageSize = o.c.Hostname, int64(o.c.SMTP.MessageSize)
	i.Ready, i.Log = o.store.ready, log
	i.Owes = func() {
		select {
		case o.owes <- struct{}{}:
		default: // it is awake, or will be
		}
	}
	i.Queue, i.SRS, i.Routed = o.queue, o.srs, o.routed
	if o.c.DKIM.Sign {
		i.Signer = signer{o.keys}
	}
	return intake.New(i, o.store.Accounts, o.store.Mailboxes)
}

// routed tells whether a domain has a next hop of its own: if it is one of ours,
// an inner server has its mailboxes.
func (o *out) routed(d message.Domain) bool { return hasRoute(o.routes, d) }

func hasRoute(routes []delivery.Route, d message.Domain) bool {
	for _, r := range routes {
		for _, name := range r.Domains {
			if string(d) == name || name[0] == '.' && strings.HasSuffix(string(d), name) {
				return true
			}
		}
	}
	return false
}

// Post implements queue.Poster.
func (o *out) Post(ctx context.Context, n queue.Notice) (string, error) {
	return o.own.Post(ctx, intake.Post{
		From: n.Sender, To: []message.Address{n.To}, Body: n.Body, Changes: n.Changes, Receipt: n.Receipt,
	})
}

// run carries mail away until ctx ends.
func (o *out) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ignoreEnd(gctx, o.policies.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, o.delivery.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, o.queue.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, o.own.RunReceipts(gctx, o.store.Fates, o.owes)) })
	g.Go(func() error { return ignoreEnd(gctx, o.store.Fates.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, o.store.Accounts.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, o.learned.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, o.received.Run(gctx)) })
	if o.reports != nil {
		g.Go(func() error { return ignoreEnd(gctx, o.reports.Run(gctx)) })
	}
	g.Go(func() error {
		if o.resolver == nil {
			return ignoreEnd(gctx, o.keys.Run(gctx, nil))
		}
		return ignoreEnd(gctx, o.keys.Run(gctx, o.resolver))
	})
	return g.Wait()
}

// close saves what was learned of senders.
func (o *out) close() error { return o.learned.Close() }

// signer signs with the keys of the author's domain.
type signer struct{ keys *dkim.Store }

// Begin implements intake.Signer.
func (s signer) Begin(author message.Domain) intake.Signature {
	keys := s.keys.Active(author, time.Now())
	if len(keys) == 0 {
		return nil
	}
	return &signature{mailauth.NewBodyHash(), keys}
}

// signature is that of one message under way.
type signature struct {
	*mailauth.BodyHash
	keys []mailauth.DKIMKey
}

// Fields implements intake.Signature.
func (s *signature) Fields(header []byte) (string, error) {
	return mailauth.SignDKIM(s.keys, header, s.BodyHash, time.Now(), sys.Rand())
}
