package tlspolicy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// failurePause is between attempts to fetch a policy (RFC 8461 §3.3); mail
	// does not wait for it.
	failurePause = 5 * time.Minute
	// fetchesMax run at once, each with a connection; others wait.
	fetchesMax = 32
	// refreshAge is when a policy is fetched anew (RFC 8461 §10.2: the more
	// often, the harder it is to keep a new one from us).
	refreshAge = 24 * time.Hour
	// refreshPause is between attempts to do so.
	refreshPause = time.Hour
	// refreshUsed is for how long after its last use a policy is refreshed.
	refreshUsed = 30 * 24 * time.Hour
	// runEvery is how often there is a look at what is due.
	runEvery = time.Minute
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

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.FS == nil {
		o.FS = sys.OSFS()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "tlspolicy")
	return o
}

// Policies finds the policies of domains.
type Policies struct {
	o     Options
	r     Resolver
	web   *Web
	life  context.Context // of fetches: until Run ends
	end   context.CancelFunc
	slots chan struct{} // one token for each fetch

	mu      sync.Mutex
	cache   *cache                     // guarded by mu
	flights map[message.Domain]*flight // guarded by mu
	writing sync.Mutex                 // held while the file is written
	fetches sync.WaitGroup
}

// flight is a fetch that some wait for.
type flight struct{ done chan struct{} }

// New makes Policies and reads what is kept in the file. A file that cannot be
// used is set aside and logged, and is no error.
func New(o Options, r Resolver) (*Policies, error) {
	if r == nil {
		return nil, errors.New("tls policies: no resolver")
	}
	o = o.withDefaults()
	p := &Policies{
		o: o, r: r, cache: newCache(), flights: make(map[message.Domain]*flight), slots: make(chan struct{}, fetchesMax),
		web: NewWeb(WebOptions{Dial: o.Dial, AllowNetworks: o.AllowNetworks, Roots: o.Roots, Clock: o.Clock}, r),
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.load()
	return p, nil
}

// Web is the client that policies are fetched with.
func (p *Policies) Web() *Web { return p.web }

// For finds what applies to a domain. The error is that of ctx: nothing can be
// said, and no delivery must be tried.
func (p *Policies) For(ctx context.Context, mx MX) (*Decision, error) {
	d := &Decision{p: p, mx: mx}
	if _, literal := mx.Domain.Literal(); p.o.NoSTS || literal {
		return d, nil
	}
	e, trouble, err := p.policy(ctx, mx.Domain)
	if err != nil {
		return nil, err
	}
	d.trouble = trouble
	if e != nil && e.policy.Mode != ModeNone {
		d.sts = e.policy
	}
	return d, nil
}

// policy gives a domain's MTA-STS policy, or nil. Where nothing newer can be
// had, that which is remembered applies until its time is over (RFC 8461 §3.3).
func (p *Policies) policy(ctx context.Context, domain message.Domain) (*entry, *Failure, error) {
	id, there := p.currentID(ctx, domain)
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	now := p.o.Clock.Now()
	p.mu.Lock()
	e := p.cache.get(domain, now)
	trouble := p.cache.trouble(domain, now)
	if !there || e != nil && e.id == id {
		p.mu.Unlock()
		return e, nil, nil
	}
	if trouble != nil || p.o.Dial == nil {
		p.mu.Unlock()
		return e, trouble, nil
	}
	f := p.flights[domain]
	if f == nil {
		f = p.start(domain, id)
	}
	p.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now = p.o.Clock.Now()
	return p.cache.get(domain, now), p.cache.trouble(domain, now), nil
}

// currentID gives the id of the policy that a domain says it has (RFC 8461
// §3.1): exactly one record must be there.
func (p *Policies) currentID(ctx context.Context, domain message.Domain) (string, bool) {
	a := p.r.Lookup(ctx, dns.Question{Name: "_mta-sts." + string(domain), Type: dns.TXT})
	if a.Status() != dns.Found {
		return "", false
	}
	record := ""
	for _, text := range a.Texts {
		rest, ok := strings.CutPrefix(text, "v=STSv1")
		if !ok || !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue // another's, or of a version to come
		}
		if record != "" {
			return "", false
		}
		record = text
	}
	id, err := ParseRecord(record)
	return id, err == nil
}

// start begins a fetch. p.mu is held.
func (p *Policies) start(domain message.Domain, id string) *flight {
	f := &flight{done: make(chan struct{})}
	p.flights[domain] = f
	p.fetches.Go(func() { p.fetch(f, domain, id) })
	return f
}

// fetch gets a policy and takes it in, or what kept us from it.
func (p *Policies) fetch(f *flight, domain message.Domain, id string) {
	defer close(f.done)
	policy, result, err := p.fetchInTurn(domain)
	p.o.Metrics.fetches[outcomeOf(result)].Inc()
	now := p.o.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flights, domain)
	if err != nil {
		about := &Policy{Domain: domain, report: TypeSTS}
		p.cache.fail(domain, &Failure{Policy: about, Type: result, Err: err}, now)
		p.o.Log.Warn("MTA-STS policy cannot be had", telemetry.Domain, string(domain), telemetry.Reason, string(result), telemetry.Err, err)
	} else {
		p.cache.put(&entry{domain: domain, id: id, policy: policy, fetched: now, used: now})
	}
	p.o.Metrics.kept.Set(float64(len(p.cache.entries)))
}

func (p *Policies) fetchInTurn(domain message.Domain) (*STSPolicy, Result, error) {
	ctx, cancel := context.WithTimeout(p.life, 2*fetchTimeout) // a while for the turn, too
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, STSPolicyFetchError, fmt.Errorf("too many fetches of policies: %w", ctx.Err())
	}
	return p.web.fetch(ctx, domain)
}

// Run keeps the policies fresh and the file written until ctx ends. Decisions
// made later know only what is remembered.
func (p *Policies) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			p.end()
			p.fetches.Wait()
			return p.save()
		case <-p.o.Clock.After(runEvery):
		}
		p.refresh(ctx)
		if err := p.save(); err != nil {
			p.o.Log.Error("save MTA-STS policies", telemetry.Err, err)
		}
	}
}

// refresh fetches what is old, and forgets what is over.
func (p *Policies) refresh(ctx context.Context) {
	now := p.o.Clock.Now()
	p.mu.Lock()
	due := p.cache.due(now)
	p.mu.Unlock()
	for _, e := range due {
		id, there := p.currentID(ctx, e.domain)
		if !there {
			id = e.id
		}
		if ctx.Err() != nil || p.o.Dial == nil {
			return
		}
		p.mu.Lock()
		f := p.flights[e.domain]
		if f == nil {
			f = p.start(e.domain, id)
		}
		p.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return
		}
	}
}

// Route gives the policy for a route's next hop: Opportunistic, Encrypt or
// Verify. The operator vouches for its name.
func (p *Policies) Route(host string, level Kind) *Policy {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return &Policy{Kind: min(level, Verify), Host: host, authentic: true, roots: p.o.Roots, clock: p.o.Clock}
}

// Known is an MTA-STS policy that is remembered.
type Known struct {
	Domain  message.Domain `json:"domain"`
	ID      string         `json:"id"`
	Mode    Mode           `json:"mode"`
	MX      []string       `json:"mx"`
	Fetched time.Time      `json:"fetched"`
	Expires time.Time      `json:"expires"`
}

// Known lists the MTA-STS policies that are remembered, by domain.
func (p *Policies) Known() []Known {
	now := p.o.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cache.known(now)
}
