package policy

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// poolsMax is how many domains' networks are remembered for the greylist,
	// beside the trusted ones: the senders of a busy hour.
	poolsMax = 2000
	// poolNetworksMax is how many networks of one domain are taken; the
	// largest senders have some hundreds.
	poolNetworksMax = 1000
	// poolQueueMax is how many domains may wait to be asked for; what does not
	// fit is asked for at a later attempt.
	poolQueueMax = 256
	// poolAskersMax is how many domains are asked for at once, so that one with
	// slow name servers holds up few others.
	poolAskersMax = 4
	// poolTimeout bounds the questions for one domain: RFC 7208 §4.6.4 allows
	// 20 seconds at least for an evaluation.
	poolTimeout = 20 * time.Second
	// poolFresh is how long networks are used before they are asked for again;
	// records of large senders change a few times a month.
	poolFresh = 6 * time.Hour
	// poolStale is how long they are still used when they cannot be had.
	poolStale = 72 * time.Hour
	// poolRetry is how long a domain that could not be asked is left alone.
	poolRetry = 15 * time.Minute
	// widthMin4 and widthMin6 are the widest networks believed: a record that
	// authorises more than that, such as "+all", recommends nobody.
	widthMin4 = 10
	widthMin6 = 20
)

// pools remembers which networks the SPF records of domains name.
type pools struct {
	spf   SPF
	clock sys.Clock
	log   *slog.Logger

	known atomic.Pointer[ranges] // of all trusted domains

	mu      sync.Mutex
	limit   int                      // guarded by mu, as all below: learned domains
	domains map[message.Domain]*pool //
	queue   []message.Domain         // to be asked next, oldest first
	wake    chan struct{}
}

// pool is what is known of one domain.
type pool struct {
	trusted  bool // configured
	learned  bool // users write there
	nets     []netip.Prefix
	ranges   *ranges
	had      time.Time // when nets were had; zero: never
	tried    time.Time
	used     time.Time
	waiting  bool     // is in the queue
	deferred []defers // attempts of senders that turn out to be of the pool
}

// defers is an attempt that was greylisted before its pool was known.
type defers struct {
	sender Sender
	to     message.Address
	at     time.Time
}

// defersMax is how many attempts of one domain are kept until its networks are
// known; the rest is known by its own network only.
const defersMax = 16

func newPools(spf SPF, trusted []message.Domain, learned int, clock sys.Clock, log *slog.Logger) *pools {
	p := &pools{spf: spf, clock: clock, log: log, domains: make(map[message.Domain]*pool), wake: make(chan struct{}, 1)}
	p.known.Store(&ranges{})
	p.configure(trusted, learned)
	return p
}

// configure sets the trusted domains of the configuration.
func (p *pools) configure(trusted []message.Domain, learned int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = learned
	for _, d := range p.domains {
		d.trusted = false
	}
	for _, name := range trusted {
		d := p.get(name)
		d.trusted = true
		p.enqueue(name, d)
	}
	p.rebuild()
}

// get finds or makes a domain's entry. mu is held.
func (p *pools) get(name message.Domain) *pool {
	d := p.domains[name]
	if d == nil {
		d = &pool{}
		p.domains[name] = d
	}
	d.used = p.clock.Now()
	return d
}

// enqueue has a domain asked unless its networks are fresh. mu is held.
func (p *pools) enqueue(name message.Domain, d *pool) bool {
	now := p.clock.Now()
	if p.spf == nil || d.waiting || d.fresh(now) || now.Sub(d.tried) < poolRetry && !d.tried.IsZero() {
		return d.waiting
	}
	if len(p.queue) >= poolQueueMax && !d.trusted {
		return false
	}
	d.waiting = true
	p.queue = append(p.queue, name)
	p.signal()
	return true
}

func (p *pools) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (d *pool) fresh(now time.Time) bool { return !d.had.IsZero() && now.Sub(d.had) < poolFresh }

// learn trusts a domain that a user has written to.
func (p *pools) learn(domain string) {
	name, err := message.ParseDomain(domain)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit <= 0 {
		return
	}
	d := p.get(name)
	if !d.learned {
		d.learned = true
		p.forgetLearned()
		if d.ranges != nil {
			p.rebuild()
		}
	}
	p.enqueue(name, d)
}

// forgetLearned keeps the learned domains within their limit: the one that
// was written to longest ago goes. mu is held.
func (p *pools) forgetLearned() {
	n := 0
	var oldest *pool
	for _, d := range p.domains {
		if d.learned {
			if n++; oldest == nil || d.used.Before(oldest.used) {
				oldest = d
			}
		}
	}
	if n > p.limit {
		oldest.learned = false
	}
}

// trusted returns the trusted domain that an address sends for, "" if none.
func (p *pools) trusted(a netip.Addr) string {
	d, _ := p.known.Load().find(a)
	return d
}

// pool names the pool of a domain that an address belongs to, as far as the
// domain's record is known.
func (p *pools) pool(domain message.Domain, a netip.Addr) string {
	if domain == "" {
		return ""
	}
	p.mu.Lock()
	d := p.domains[domain]
	var r *ranges
	if d != nil {
		d.used = p.clock.Now()
		if d.used.Sub(d.had) < poolStale {
			r = d.ranges
		}
	}
	p.mu.Unlock()
	if r == nil {
		return ""
	}
	name, _ := r.find(a)
	return name
}

// ask has the networks of a greylisted sender's domain looked up. If they hold
// its address the attempt counts for the whole pool, so that a retry from
// elsewhere in it is known.
func (p *pools) ask(s Sender, to message.Address, at time.Time) {
	if s.Domain == "" || p.spf == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.domains) >= poolsMax+p.limit && p.domains[s.Domain] == nil && !p.forgetPools() {
		return
	}
	d := p.get(s.Domain)
	if p.enqueue(s.Domain, d) && len(d.deferred) < defersMax {
		d.deferred = append(d.deferred, defers{s, to, at})
	}
}

// forgetPools makes room: of those that nobody trusts and nobody waits for, the
// ones not used in the newer half of their time. It reports whether there were
// any. mu is held.
func (p *pools) forgetPools() bool {
	var oldest, newest time.Time
	for _, d := range p.domains {
		if d.kept() {
			continue
		}
		if oldest.IsZero() || d.used.Before(oldest) {
			oldest = d.used
		}
		if d.used.After(newest) {
			newest = d.used
		}
	}
	half, before := oldest.Add(newest.Sub(oldest)/2), len(p.domains)
	for name, d := range p.domains {
		if !d.kept() && !d.used.After(half) {
			delete(p.domains, name)
		}
	}
	return len(p.domains) < before
}

func (d *pool) kept() bool { return d.trusted || d.learned || d.waiting }

// run asks for the domains in the queue, and again for trusted ones. Several
// may run at once.
func (p *pools) run(ctx context.Context, found func(defers)) {
	if p.spf == nil {
		return
	}
	for {
		p.mu.Lock()
		var next message.Domain
		if len(p.queue) > 0 {
			next = p.queue[0]
			p.queue = append(p.queue[:0], p.queue[1:]...)
		}
		if len(p.queue) > 0 {
			p.signal() // there is work for another one
		}
		p.mu.Unlock()
		if next != "" {
			p.fetch(ctx, next, found)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-p.clock.After(poolRetry):
			p.refresh()
		}
	}
}

// refresh puts the trusted domains whose networks are not fresh into the
// queue.
func (p *pools) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, d := range p.domains {
		if d.trusted || d.learned {
			p.enqueue(name, d)
		}
	}
}

func (p *pools) fetch(ctx context.Context, name message.Domain, found func(defers)) {
	ctx, cancel := context.WithTimeout(ctx, poolTimeout)
	nets, err := p.spf.Networks(ctx, name)
	cancel()
	now := p.clock.Now()
	if err != nil {
		p.log.Debug("networks of a domain not found", slog.String(telemetry.Domain, string(name)), slog.Any(telemetry.Err, err))
	}
	p.mu.Lock()
	d := p.get(name)
	d.waiting, d.tried = false, now
	if err == nil {
		d.had = now
		d.nets = believable(nets)
		pool := "spf:" + string(name)
		d.ranges = newRanges(d.nets, func(int) string { return pool })
	} else if d.ranges != nil && now.Sub(d.had) > poolStale {
		d.nets, d.ranges = nil, nil
	}
	if d.trusted || d.learned {
		p.rebuild()
	}
	attempts := d.deferred
	d.deferred = nil
	r := d.ranges
	p.mu.Unlock()
	for _, a := range attempts {
		if r == nil {
			break
		}
		if pool, ok := r.find(a.sender.Addr); ok {
			a.sender.Pool = pool
			found(a)
		}
	}
}

// believable takes the networks that are no wider than one owner's.
func believable(nets []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range nets {
		n = unmap(n)
		if n.IsValid() && n.Bits() >= widthMin6 || n.Addr().Is4() && n.Bits() >= widthMin4 {
			out = append(out, n)
		}
		if len(out) == poolNetworksMax {
			break
		}
	}
	return out
}

// rebuild makes the set of all trusted networks anew. mu is held.
func (p *pools) rebuild() {
	var nets []netip.Prefix
	var whose []string
	for name, d := range p.domains {
		if d.trusted || d.learned {
			for _, n := range d.nets {
				nets, whose = append(nets, n), append(whose, string(name))
			}
		}
	}
	p.known.Store(newRanges(nets, func(i int) string { return whose[i] }))
}
