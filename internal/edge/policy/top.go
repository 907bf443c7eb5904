package policy

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// topHalf is how often the figures of Top's sources are halved, so that what
// is going on now counts more than what is over.
const topHalf = 10 * time.Minute

// Top is what costs most.
type Top struct {
	At       time.Time `json:"at"`
	Level    string    `json:"level"`
	Since    time.Time `json:"level_since"`
	Guests   float64   `json:"guests"` // share of the lobby's places
	Budget   float64   `json:"budget"` // share of its memory
	Arrivals float64   `json:"arrivals_per_second"`

	Minute Counts         `json:"last_minute"`
	Total  Counts         `json:"total"`
	By     map[string]int `json:"decided_by"` // verdicts but Pass, by the check that decided

	// The costliest networks, with figures that halve every ten minutes.
	Connections []Source `json:"connections,omitempty"`
	Refusals    []Source `json:"refusals,omitempty"`
	Octets      []Source `json:"octets,omitempty"`
	CPU         []Source `json:"cpu_us,omitempty"`
	Questions   []Source `json:"dns_questions,omitempty"`

	Trusted   int `json:"trusted_networks"`
	Forgotten int `json:"forgotten"` // entries of full tables
}

// Source is one network, an IPv4 /24 or an IPv6 /64.
type Source struct {
	Network netip.Prefix `json:"network"`
	Amount  int64        `json:"amount"`
	Error   int64        `json:"error,omitempty"` // Amount is too high by this at most
}

// Counts are how many there were of each kind.
type Counts struct {
	Arrived  int64 `json:"arrived"`
	Turned   int64 `json:"turned_away"` // at arrival
	Admitted int64 `json:"admitted"`    // at arrival
	Passed   int64 `json:"passed"`
	Refused  int64 `json:"refused"`
	Deferred int64 `json:"deferred"`
	Accepted int64 `json:"accepted"` // messages
}

func (c *Counts) add(d *Counts) {
	c.Arrived += d.Arrived
	c.Turned += d.Turned
	c.Admitted += d.Admitted
	c.Passed += d.Passed
	c.Refused += d.Refused
	c.Deferred += d.Deferred
	c.Accepted += d.Accepted
}

// top gathers the figures of Top.
type top struct {
	mu      sync.Mutex
	halved  time.Time // guarded by mu, as all below
	total   Counts
	seconds [60]struct {
		at int64
		Counts
	}
	by                                            map[string]int
	connections, refusals, octets, cpu, questions sketch
}

func newTop(sources int, h *hasher, now time.Time) *top {
	t := &top{halved: now, by: make(map[string]int)}
	for _, s := range t.sketches() {
		s.init(sources, h)
	}
	return t
}

func (t *top) sketches() []*sketch {
	return []*sketch{&t.connections, &t.refusals, &t.octets, &t.cpu, &t.questions}
}

// second is the place of the counts of a second. mu is held.
func (t *top) second(now time.Time) *Counts {
	at := now.Unix()
	s := &t.seconds[uint64(at)%uint64(len(t.seconds))]
	if s.at != at {
		s.at, s.Counts = at, Counts{}
	}
	if now.Sub(t.halved) >= topHalf {
		t.halved = now
		for _, sk := range t.sketches() {
			sk.halve()
		}
	}
	return &s.Counts
}

func (t *top) count(now time.Time, d Counts) {
	t.second(now).add(&d)
	t.total.add(&d)
}

func (t *top) arrived(n uint64, e *Entry, now time.Time) {
	d := Counts{Arrived: 1}
	switch e.Kind {
	case EntryRefuse:
		d.Turned = 1
	case EntryAdmit:
		d.Admitted = 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(now, d)
	t.connections.add(n, 1)
	if e.Kind == EntryRefuse {
		t.refusals.add(n, 1)
	}
}

func (t *top) judged(n uint64, v *Verdict, now time.Time) {
	var d Counts
	switch v.Kind {
	case Pass:
		d.Passed = 1
	case Refuse:
		d.Refused = 1
	case Defer:
		d.Deferred = 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(now, d)
	if v.Kind != Pass {
		t.by[v.By]++ // as many as there are checks and lists
		t.refusals.add(n, 1)
	}
}

func (t *top) accepted(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(now, Counts{Accepted: 1})
}

func (t *top) spent(n uint64, octets int64, cpu time.Duration, questions int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.octets.add(n, octets)
	t.cpu.add(n, cpu.Microseconds())
	t.questions.add(n, int64(questions))
}

// Top returns the n costliest sources of each kind, and the figures of now.
func (p *Policy) Top(n int) Top {
	now, l, t := p.clock(), p.load.now(), p.top
	out := Top{
		At: now, Level: l.level.String(), Since: l.since, Guests: l.guests, Budget: l.budget, Arrivals: l.arrivals,
		By: make(map[string]int), Trusted: len(p.pools.known.Load().spans),
	}
	for _, s := range []*slots{p.rates.table, p.presence.table, p.refusals.table, p.guesses.table, p.logins.table} {
		out.Forgotten += int(s.forgotten())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.second(now)
	out.Total = t.total
	for i := range t.seconds {
		if s := &t.seconds[i]; now.Unix()-s.at < int64(len(t.seconds)) {
			out.Minute.add(&s.Counts)
		}
	}
	for k, v := range t.by {
		out.By[k] = v
	}
	out.Connections, out.Refusals, out.Octets = t.connections.top(n), t.refusals.top(n), t.octets.top(n)
	out.CPU, out.Questions = t.cpu.top(n), t.questions.top(n)
	return out
}

// sketch finds the heaviest networks of a stream in a fixed number of counters:
// a new one takes over the lightest counter of its set, and its amount as an
// error that is known (space saving). The sets are chosen by a secret, so that
// heavy ones share a set by chance only.
type sketch struct {
	hash *hasher
	sets [][sketchWays]counter
}

// sketchWays is how many counters a set has: two cache lines and a half.
const sketchWays = 8

// counter counts one network; the zero key is none.
type counter struct {
	key           uint64
	amount, error int64
}

func (s *sketch) init(sources int, h *hasher) {
	s.hash, s.sets = h, make([][sketchWays]counter, max(1, sources/sketchWays))
}

// networkKey is a network as a number: the high half of an IPv6 address, of
// which none begins with the octet that marks IPv4.
func networkKey(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return networkIPv4 | uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}

// networkIPv4 marks IPv4: ff00::/8 is multicast, from which nobody connects.
const networkIPv4 = 0xff << 56

func keyNetwork(k uint64) netip.Prefix {
	if k>>56 == networkIPv4>>56 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(k >> 16), byte(k >> 8), byte(k)}), 24)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

func (s *sketch) add(key uint64, amount int64) {
	if amount <= 0 || key == 0 {
		return
	}
	set := &s.sets[s.hash.mix(key, 0)%uint64(len(s.sets))]
	least := 0
	for i := range set {
		if set[i].key == key {
			set[i].amount += amount
			return
		}
		if set[i].amount < set[least].amount {
			least = i
		}
	}
	c := &set[least]
	*c = counter{key: key, amount: c.amount + amount, error: c.amount}
}

// halve halves all amounts.
func (s *sketch) halve() {
	for i := range s.sets {
		for j := range s.sets[i] {
			s.sets[i][j].amount /= 2
			s.sets[i][j].error /= 2
		}
	}
}

// top returns the n heaviest networks, the surest of equals first.
func (s *sketch) top(n int) []Source {
	var all []Source
	for i := range s.sets {
		for _, c := range s.sets[i] {
			if c.amount > c.error {
				all = append(all, Source{keyNetwork(c.key), c.amount, c.error})
			}
		}
	}
	slices.SortFunc(all, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Amount-b.Error, a.Amount-a.Error), a.Network.Addr().Compare(b.Network.Addr()))
	})
	return all[:min(max(0, n), len(all))]
}
