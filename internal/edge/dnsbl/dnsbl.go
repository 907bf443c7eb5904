package dnsbl

import (
	"fmt"
	"log/slog"
	"math/bits"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Asker asks the DNS; a *dns.Client is one.
type Asker interface {
	Ask(q dns.Question, done func(dns.Answer))
}

// Options of a [Checker]. The zero value of each field has a default.
type Options struct {
	Timeout time.Duration // of a Check; 2 s if 0
	// CacheEntries bounds the answers that are remembered, one for each
	// address and zone, 16 octets each; 262144 if 0.
	CacheEntries int
	// Checks bounds those that wait for answers; 16384 if 0.
	Checks  int
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

const (
	// listsMax is how many bits a Score has.
	listsMax = 32
	// weightMax of a list: the sum of 32 fits into a Score.
	weightMax = 1000
	// zoneOctetsMax leaves room in a name for the 64 octets of an IPv6 address.
	zoneOctetsMax = 253 - 64
	// checkTimeoutDefault is as long as a stranger waits for the banner at most.
	checkTimeoutDefault = 2 * time.Second
	// checksDefault is five seconds of a wave at 3,000 a second, some 300
	// octets each.
	checksDefault = 16384
	// tickGap is how often ends of waits are looked at: those that began
	// together end together.
	tickGap = 5 * time.Millisecond
)

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = checkTimeoutDefault
	}
	if o.CacheEntries <= 0 {
		o.CacheEntries = cacheEntriesDefault
	}
	if o.Checks <= 0 {
		o.Checks = checksDefault
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "dnsbl")
	return o
}

// Checker asks the lists.
type Checker struct {
	o     Options
	asker Asker
	lists []List
	zones []*zone // of the lists, each once
	cache *cache
	idle  chan struct{} // wakes the watcher when nothing is left to watch

	mu          sync.Mutex
	first, last *check   // guarded by mu; in the order of their ends
	waiting     int      // guarded by mu; checks in that list
	watching    bool     // guarded by mu; a goroutine watches their ends
	hits        []uint64 // guarded by mu; of each list
	texts       texts    // guarded by mu
}

// check is an address that waits for answers. All but addr and done are
// guarded by the Checker's mu.
type check struct {
	addr       netip.Addr
	done       func(Score)
	score      Score
	left       uint32 // zones that have not answered
	issuing    bool   // questions are still being asked: who asks sees the end
	over       bool
	end        time.Time
	next, prev *check
}

// todo is what is to be done when the mutex is free.
type todo struct {
	asks  []ask
	calls []ended
	logs  []func()
}

type ask struct {
	q    dns.Question
	done func(dns.Answer)
}

type ended struct {
	done  func(Score)
	score Score
}

func (t *todo) log(f func()) { t.logs = append(t.logs, f) }

func (c *Checker) do(t *todo) {
	for _, f := range t.logs {
		f()
	}
	for _, e := range t.calls {
		e.done(e.score)
	}
	for _, a := range t.asks {
		c.asker.Ask(a.q, a.done)
	}
}

// New takes at most 32 lists. Lists of one zone, which count different
// answers, cost one question.
func New(o Options, a Asker, lists []List) (*Checker, error) {
	if len(lists) > listsMax {
		return nil, fmt.Errorf("%d DNS lists, at most %d are possible", len(lists), listsMax)
	}
	o = o.withDefaults()
	now := o.Clock.Now()
	c := &Checker{o: o, asker: a, cache: newCache(o.CacheEntries, now), idle: make(chan struct{}, 1), hits: make([]uint64, len(lists))}
	zones := map[string]*zone{}
	for i, l := range lists {
		name, ok := dns.Normal(l.Zone)
		if !ok || len(name) > zoneOctetsMax {
			return nil, fmt.Errorf("DNS list %q: not a domain name", l.Zone)
		}
		if l.Weight < -weightMax || l.Weight > weightMax {
			return nil, fmt.Errorf("DNS list %s: weight %d is not within %d", name, l.Weight, weightMax)
		}
		for _, p := range l.Codes {
			if !p.IsValid() || !answers().Contains(p.Addr()) || p.Bits() < answers().Bits() {
				return nil, fmt.Errorf("DNS list %s: answers %s are not within %s", name, p, answers())
			}
		}
		l.Zone = name
		c.lists = append(c.lists, l)
		z := zones[name]
		if z == nil {
			z = &zone{name: name, index: len(c.zones), white: true, state: OK, since: now, gap: retestMin, m: o.Metrics.of(name)}
			z.m.usable.Set(1)
			zones[name] = z
			c.zones = append(c.zones, z)
		}
		z.lists |= 1 << i
		z.white = z.white && l.Weight < 0
	}
	return c, nil
}

// Lists returns the lists; bit i of a Score is the i-th.
func (c *Checker) Lists() []List { return append([]List(nil), c.lists...) }

// question is the name that a zone is asked about an address.
func question(a netip.Addr, zone string) dns.Question {
	var b [253]byte
	name := append(append(dns.AppendReverse(b[:0], a), '.'), zone...)
	return dns.Question{Name: string(name), Type: dns.A}
}

// plain gives an address as lists know it.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Check returns what the lists say of an address if no question has to be
// asked. Otherwise done is called once, within Options.Timeout, on another
// goroutine, which it must not hold up.
func (c *Checker) Check(a netip.Addr, done func(Score)) (s Score, ready bool) {
	a = plain(a)
	if !a.IsValid() {
		return Score{}, true
	}
	now := c.o.Clock.Now()
	var t todo
	c.mu.Lock()
	left := c.remembered(a, &s, now, &t)
	if left != 0 && c.waiting >= c.o.Checks {
		c.o.Metrics.busy.Inc()
		for _, z := range c.zones {
			if left>>z.index&1 != 0 {
				s.Silent |= z.lists
			}
		}
		left = 0
	}
	if left == 0 {
		c.mu.Unlock()
		c.do(&t)
		s.Weight = c.weight(s.Hits)
		return s, true
	}
	k := &check{addr: a, done: done, score: s, left: left, issuing: true, end: now.Add(c.o.Timeout)}
	c.push(k)
	for _, z := range c.zones {
		if left>>z.index&1 != 0 {
			k.score.Asked++
			z.asked++
			epoch := z.epoch
			t.asks = append(t.asks, ask{question(a, z.name), func(answer dns.Answer) { c.answered(k, z, epoch, &answer) }})
		}
	}
	c.mu.Unlock()
	c.do(&t)

	c.mu.Lock()
	defer c.mu.Unlock()
	k.issuing = false
	if k.left != 0 && !c.watching {
		c.watching = true
		go c.watch()
	}
	if k.left != 0 || k.over {
		return Score{}, false
	}
	c.unlink(k)
	return c.total(k), true
}

// remembered takes what the cache knows of an address into a score, and gives
// the zones that have to be asked; the checker is locked.
func (c *Checker) remembered(a netip.Addr, s *Score, now time.Time, t *todo) (left uint32) {
	found, missed := 0, 0
	for _, z := range c.zones {
		if z.state != OK {
			s.Silent |= z.lists
			c.retest(z, now, t)
			continue
		}
		hits, ok := c.cache.get(c.cache.key(a, z.index, z.epoch), now)
		if !ok {
			left |= 1 << z.index
			missed++
			continue
		}
		found++
		s.Hits |= hits
	}
	c.o.Metrics.found.Add(float64(found))
	c.o.Metrics.missed.Add(float64(missed))
	return left
}

func (c *Checker) weight(hits uint32) int16 {
	sum := 0
	for h := hits; h != 0; h &= h - 1 {
		sum += c.lists[bits.TrailingZeros32(h)].Weight
	}
	return int16(sum)
}

// total is the score of a check that is over; the checker is locked.
func (c *Checker) total(k *check) Score {
	k.score.Weight = c.weight(k.score.Hits)
	return k.score
}

// answered takes a zone's answer about an address.
func (c *Checker) answered(k *check, z *zone, epoch uint32, a *dns.Answer) {
	v, hits, why := z.judge(c.lists, a)
	var t todo
	now := c.o.Clock.Now()
	c.mu.Lock()
	z.m.count(v)
	c.diagnose(z, v, a, k.over, why, now, &t)
	usable := z.state == OK && z.epoch == epoch && (v == clear || v == listed)
	switch f := family(k.addr); {
	case !usable:
		c.settle(k, z, false, 0, 0, now, &t)
	case hits == 0:
		c.settle(k, z, true, 0, a.TTL, now, &t)
	case z.fresh(f, now):
		if now.Sub(z.tests[f].clean) > freshMax/2 {
			c.startTest(z, f, now, &t) // so that nobody has to wait for it
		}
		c.settle(k, z, true, hits, a.TTL, now, &t)
	case len(z.tests[f].held) >= c.o.Checks:
		c.settle(k, z, false, 0, 0, now, &t)
	default:
		// Nobody is refused for a list that lists everybody.
		z.tests[f].held = append(z.tests[f].held, held{k, hits, a.TTL})
		c.startTest(z, f, now, &t)
	}
	c.mu.Unlock()
	c.do(&t)
}

// settle ends the wait of a check for a zone; the checker is locked. What
// comes too late for the check is still remembered.
func (c *Checker) settle(k *check, z *zone, usable bool, hits uint32, ttl time.Duration, now time.Time, t *todo) {
	if usable {
		c.cache.put(c.cache.key(k.addr, z.index, z.epoch), hits, ttl, now)
	}
	if k.over || k.left>>z.index&1 == 0 {
		return
	}
	k.left &^= 1 << z.index
	if usable {
		z.answered++
		k.score.Hits |= hits
		for h := hits; h != 0; h &= h - 1 {
			c.hits[bits.TrailingZeros32(h)]++
		}
	} else {
		z.silent++
		k.score.Silent |= z.lists
	}
	if k.left == 0 {
		c.prefetch(k, now, t)
		if !k.issuing {
			c.unlink(k)
			t.calls = append(t.calls, ended{k.done, c.total(k)})
		}
	}
}

// push puts a check at the end of the list; the checker is locked.
func (c *Checker) push(k *check) {
	k.prev = c.last
	if c.last == nil {
		c.first = k
	} else {
		c.last.next = k
	}
	c.last = k
	c.waiting++
}

// unlink ends a check; the checker is locked.
func (c *Checker) unlink(k *check) {
	k.over = true
	if k.prev == nil {
		c.first = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		c.last = k.prev
	} else {
		k.next.prev = k.prev
	}
	k.next, k.prev = nil, nil
	if c.waiting--; c.waiting == 0 {
		select {
		case c.idle <- struct{}{}:
		default:
		}
	}
}

// watch ends the checks whose time is over, until none is left.
func (c *Checker) watch() {
	for {
		var t todo
		now := c.o.Clock.Now()
		c.mu.Lock()
		for c.first != nil && !c.first.end.After(now) {
			c.expire(c.first, now, &t)
		}
		if c.first == nil {
			c.watching = false
			c.mu.Unlock()
			c.do(&t)
			return
		}
		wait := c.first.end.Sub(now)
		c.mu.Unlock()
		c.do(&t)
		select {
		case <-c.o.Clock.After(max(wait, tickGap)):
		case <-c.idle:
		}
	}
}

// expire ends a check with what is known; the checker is locked.
func (c *Checker) expire(k *check, now time.Time, t *todo) {
	for _, z := range c.zones {
		if k.left>>z.index&1 != 0 {
			z.silent++
			k.score.Silent |= z.lists
			c.miss(z, silent, fmt.Sprintf("no answer within %s", c.o.Timeout), now, t)
		}
	}
	k.left = 0
	c.unlink(k)
	if k.score.Hits != 0 {
		c.prefetch(k, now, t)
	}
	t.calls = append(t.calls, ended{k.done, c.total(k)})
}

// expand puts the address into a text of the configuration.
func expand(text string, a netip.Addr) string {
	return strings.ReplaceAll(text, "{ip}", a.String())
}
