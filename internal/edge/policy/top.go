package policy

import (
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

func newTop(sources int, now time.Time) *top {
	t := &top{halved: now, by: make(map[string]int)}
	for _, s := range t.sketches() {
		s.init(sources)
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

func (t *top) arrived(n netip.Prefix, e *Entry, now time.Time) {
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

func (t *top) judged(n netip.Prefix, v *Verdict, now time.Time) {
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

func (t *top) spent(n netip.Prefix, octets int64, cpu time.Duration, questions int) {
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

// sketch finds the heaviest keys of a stream in a fixed number of counters: a
// new key takes over the lightest counter and its amount, as an error that is
// known (space saving). The counters are a heap, the lightest on top.
type sketch struct {
	max   int
	heap  []Source
	where map[netip.Prefix]int
}

func (s *sketch) init(max int) { s.max, s.where = max, make(map[netip.Prefix]int) }

func (s *sketch) add(n netip.Prefix, amount int64) {
	if amount <= 0 || !n.IsValid() {
		return
	}
	i, ok := s.where[n]
	switch {
	case ok:
	case len(s.heap) < s.max:
		i = len(s.heap)
		s.heap = append(s.heap, Source{Network: n})
		s.where[n] = i
		i = s.up(i)
	default:
		i = 0
		delete(s.where, s.heap[0].Network)
		s.heap[0] = Source{Network: n, Amount: s.heap[0].Amount, Error: s.heap[0].Amount}
		s.where[n] = 0
	}
	s.heap[i].Amount += amount
	s.down(i)
}

func (s *sketch) up(i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if s.heap[parent].Amount <= s.heap[i].Amount {
			break
		}
		s.swap(i, parent)
		i = parent
	}
	return i
}

func (s *sketch) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(s.heap) {
			return
		}
		if c+1 < len(s.heap) && s.heap[c+1].Amount < s.heap[c].Amount {
			c++
		}
		if s.heap[i].Amount <= s.heap[c].Amount {
			return
		}
		s.swap(i, c)
		i = c
	}
}

func (s *sketch) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.where[s.heap[i].Network], s.where[s.heap[j].Network] = i, j
}

// halve halves all amounts, which keeps the heap's order.
func (s *sketch) halve() {
	for i := range s.heap {
		s.heap[i].Amount /= 2
		s.heap[i].Error /= 2
	}
}

func (s *sketch) top(n int) []Source {
	all := slices.Clone(s.heap)
	slices.SortFunc(all, func(a, b Source) int {
		if a.Amount != b.Amount {
			return int(max(-1, min(1, b.Amount-a.Amount)))
		}
		return a.Network.Addr().Compare(b.Network.Addr())
	})
	for len(all) > 0 && all[len(all)-1].Amount == 0 {
		all = all[:len(all)-1]
	}
	return all[:min(n, len(all))]
}
