package policy

import (
	"log/slog"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Places of the tables: a wave of 18,000 open strangers, each from a network
// of its own, has its place in every one. At the bound the oldest is forgotten.
const (
	// presenceMax counts an address and its network for each stranger here.
	presenceMax = 1 << 16
	// ratesMax counts what has happened in the last seconds, mostly.
	ratesMax = 1 << 15
	// refusalsMax are the addresses that were refused lately.
	refusalsMax = 1 << 15
	// guessesMax are the addresses that failed to log in lately.
	guessesMax = 1 << 12
	// loginsMax are the addresses that logged in within a day.
	loginsMax = 1 << 14
)

// stayMax is longer than any guest may stay in a lobby.
const stayMax = 30 * time.Minute

// Policy judges guests.
type Policy struct {
	parts   Parts
	clock   func() time.Time
	log     *slog.Logger
	metrics *Metrics
	rules   atomic.Pointer[rules]

	hash     hasher
	rates    rates
	presence presence
	refusals tally
	guesses  tally
	logins   tally

	load    load
	pools   *pools
	history *history
	passed  passed
	shadow  shadow
	top     *top
}

// rules are the options in the form that the checks need. They are replaced
// as a whole.
type rules struct {
	Options
	allow, deny *ranges
	own         own
	lists       []dnsbl.List
	listNames   []string // "dnsbl:" and the zone
	shadow      map[string]bool
	busy        *smtp.Reply
	thresholds  string // behind a score, for people
}

func newRules(o Options, parts *Parts) *rules {
	r := &rules{Options: o, own: newOwn(&o), shadow: make(map[string]bool)}
	r.allow = newRanges(o.Allow, func(i int) string { return o.Allow[i].String() })
	r.deny = newRanges(o.Deny, func(i int) string { return o.Deny[i].String() })
	if parts.Lists != nil {
		r.lists = parts.Lists.Lists()
	}
	for _, l := range r.lists {
		r.listNames = append(r.listNames, CheckLists+":"+l.Zone)
	}
	for _, name := range o.Shadow {
		r.shadow[name] = true
	}
	r.thresholds = ", refused from " + strconv.Itoa(o.Scores.Refuse) + ", suspect from " + strconv.Itoa(o.Scores.Suspect)
	r.busy = &smtp.Reply{Code: 421, Enhanced: "4.7.0", Text: plainName(o.Hostname) + " too many connections from your network, try again later"}
	return r
}

// New makes a Policy. Run has to run for its background work.
func New(o Options, parts Parts) *Policy {
	o.fill()
	p := &Policy{parts: parts, clock: o.Clock.Now, log: telemetry.Logger(o.Log, "policy"), metrics: o.Metrics, hash: newHasher()}
	p.rules.Store(newRules(o, &parts))
	p.rates = rates{h: &p.hash, table: newSlots(ratesMax)}
	p.presence = presence{table: newSlots(presenceMax), stay: stayMax}
	p.refusals = tally{table: newSlots(refusalsMax), window: o.Bans.RefusalsIn}
	p.guesses = tally{table: newSlots(guessesMax), window: o.Bans.GuessesIn}
	p.logins = tally{table: newSlots(loginsMax), window: o.Bans.AfterLoginOK}
	p.pools = newPools(parts.SPF, o.Trusted, o.Learned, o.Clock, p.log)
	p.history = newHistory(o.History, o.Clock, p.log, o.Metrics)
	p.passed.init()
	p.shadow.init(o.Clock.Now())
	p.top = newTop(o.Sources, &p.hash, o.Clock.Now())
	p.load.since = o.Clock.Now()
	p.warnShadow()
	return p
}

// Reload takes new options. Tables, windows of bans, history and clock stay as
// they are until the next start.
func (p *Policy) Reload(o Options) {
	o.fill()
	p.rules.Store(newRules(o, &p.parts))
	p.pools.configure(o.Trusted, o.Learned)
	p.warnShadow()
}

func (p *Policy) warnShadow() {
	r, known := p.rules.Load(), map[string]bool{}
	for _, name := range append(Checks(), r.listNames...) {
		known[name] = true
	}
	for name := range r.shadow {
		if !known[name] {
			p.log.Warn("no check of this name to be put in shadow", slog.String(telemetry.Check, name))
		}
	}
}

// Arrive judges a connection by its address alone. For each EntryWait either
// Decide passes the guest or Left is told of it.
func (p *Policy) Arrive(a netip.Addr, now time.Time) Entry {
	a = a.Unmap()
	e := p.enter(a, now, false)
	p.metrics.arrived(&e)
	p.top.arrived(networkKey(a), &e, now)
	if p.load.arrive(now, &p.rules.Load().Load) {
		p.levelChanged()
	}
	return e
}

// Why of an Entry; also labels of metrics.
const (
	whyAllowed  = "allowed"
	whyBanned   = "banned"
	whyKnown    = "passed before"
	whyTrusted  = "server of a domain that users write to"
	whyRate     = "too many connections a minute"
	whyCap      = "too many strangers at once"
	whyStranger = "stranger"
)

// enter is Arrive without its counts; with peek nothing at all is changed.
func (p *Policy) enter(a netip.Addr, now time.Time, peek bool) Entry {
	r := p.rules.Load()
	if _, ok := r.allow.find(a); ok {
		return Entry{Kind: EntryAdmit, Known: true, Why: whyAllowed}
	}
	if p.banned(a, peek) {
		return Entry{Kind: EntryRefuse, Why: whyBanned}
	}
	factor, known := 1, p.knownAddr(a, now)
	if _, denied := r.deny.find(a); denied {
		known = "" // it is to hear its refusal
	}
	if known != "" {
		factor = r.KnownFactor
	}
	keys := p.rates.keys(rateConnections, &r.Rates.Connections, a, "", factor)
	if _, full := p.rates.ask(&keys, now, peek); full {
		return Entry{Kind: EntryRefuse, Reply: r.busy, Why: whyRate, Known: known != ""}
	}
	if known != "" {
		return Entry{Kind: EntryAdmit, Known: true, Why: known}
	}
	level := p.load.get()
	if !p.sit(r, a, now, level, peek) {
		return Entry{Kind: EntryRefuse, Reply: r.busy, Why: whyCap}
	}
	return Entry{Kind: EntryWait, Wait: r.Wait, Why: whyStranger}
}

func (p *Policy) banned(a netip.Addr, peek bool) bool {
	switch {
	case peek && p.parts.WhyBanned != nil:
		_, banned := p.parts.WhyBanned(a)
		return banned
	case p.parts.Bans == nil:
		return false
	}
	return p.parts.Bans.Banned(a)
}

// knownAddr says why an address needs not wait, "" if it must.
func (p *Policy) knownAddr(a netip.Addr, now time.Time) string {
	if p.parts.Greylist != nil && p.parts.Greylist.KnownAddr(a, now) {
		return whyKnown
	}
	if p.pools.trusted(a) != "" {
		return whyTrusted
	}
	return ""
}

// sit finds a place for a stranger under the caps.
func (p *Policy) sit(r *rules, a netip.Addr, now time.Time, level Level, peek bool) bool {
	perAddress, perNetwork := r.Caps.at(level)
	address, net := p.hash.addr(0, a), p.hash.network(0, a)
	if perAddress > 0 && p.presence.get(address, now) >= perAddress ||
		perNetwork > 0 && p.presence.get(net, now) >= perNetwork {
		return false
	}
	if !peek {
		p.presence.change(address, now, 1)
		p.presence.change(net, now, 1)
	}
	return true
}

func (c *Caps) at(l Level) (address, network int) {
	if l == Stormy {
		return c.AddressStormy, c.NetworkStormy
	}
	return c.Address, c.Network
}

// rise frees a stranger's place.
func (p *Policy) rise(a netip.Addr, now time.Time) {
	p.presence.change(p.hash.addr(0, a), now, -1)
	p.presence.change(p.hash.network(0, a), now, -1)
}

// Score asks the lists; see dnsbl.Checker.Check.
func (p *Policy) Score(a netip.Addr, done func(dnsbl.Score)) (dnsbl.Score, bool) {
	if p.parts.Lists == nil {
		return dnsbl.Score{}, true
	}
	return p.parts.Lists.Check(a.Unmap(), done)
}

// Welcome reports whether the lists speak so well of a guest that it need not
// wait for the banner any longer.
func (p *Policy) Welcome(s dnsbl.Score) bool {
	return p.listWeight(s) <= p.rules.Load().Scores.Welcome
}

// Listed reports whether the lists alone are enough to refuse a guest. Such a
// guest is not offered STARTTLS, which would cost a hundred times as much as
// its refusal; one that may yet pass is, since its sender may insist on TLS.
func (p *Policy) Listed(s dnsbl.Score) bool {
	return p.listWeight(s) >= p.rules.Load().Scores.Refuse
}

func (p *Policy) listWeight(s dnsbl.Score) int {
	r := p.rules.Load()
	if len(r.lists) == 0 {
		return int(s.Weight)
	}
	sum := 0
	for i, l := range r.lists {
		if heard(s, i) && !r.inShadow(r.listNames[i]) {
			sum += l.Weight
		}
	}
	return sum
}

// heard tells whether list i lists the address. What a silent list seems to say
// does not count.
func heard(s dnsbl.Score, i int) bool { return (s.Hits&^s.Silent)>>i&1 != 0 }

// Level returns how much is going on.
func (p *Policy) Level() Level { return p.load.get() }

// SetLoad tells how full the lobby is: which shares of its places and of its
// memory are taken, from 0 to 1.
func (p *Policy) SetLoad(guests, budgetUsed float64) {
	if p.load.set(guests, budgetUsed, p.clock(), &p.rules.Load().Load) {
		p.levelChanged()
	}
}

func (p *Policy) levelChanged() {
	n := p.load.now()
	p.metrics.level.Set(float64(n.level))
	p.log.Warn("load level changed", slog.String(telemetry.State, n.level.String()),
		slog.Int(telemetry.Count, int(n.arrivals)))
}

// Correspond tells that users write to a domain: its servers become known
// senders as soon as its SPF record has been read.
func (p *Policy) Correspond(domain string) { p.pools.learn(domain) }

// Spent adds what a connection has cost after it was handed over.
func (p *Policy) Spent(a netip.Addr, octets int64, cpu time.Duration) {
	p.top.spent(networkKey(a.Unmap()), octets, cpu, 0)
}
