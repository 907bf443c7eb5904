package dnsbl

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
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

// Health is how a list does.
type Health struct {
	Zone     string
	Asked    uint64
	Answered uint64
	Silent   uint64
	Listed   uint64
	State    string // ok, silent, poisoned or refusing; all but ok are ignored
	Why      string // what is wrong, in words
	Since    time.Time
}

// Checker asks the lists.
type Checker struct {
	o     Options
	lists []List
}

// New takes at most 32 lists.
func New(o Options, a Asker, lists []List) (*Checker, error) {
	return &Checker{o: o, lists: lists}, nil
}

// Check returns what the lists say of an address if no question has to be
// asked. Otherwise done is called once, within Options.Timeout, on another
// goroutine, which it must not hold up.
func (c *Checker) Check(a netip.Addr, done func(Score)) (s Score, ready bool) {
	return Score{}, true
}

// Findings asks each list about an address.
func (c *Checker) Findings(ctx context.Context, a netip.Addr) []Finding { return nil }

// Reason returns what to tell one who is refused for a score: the zone of the
// heaviest hit, what it says of the address (which is "" as long as it is not
// known; Reason does not wait), and where to read more.
func (c *Checker) Reason(s Score, a netip.Addr) (zone, text, url string) { return "", "", "" }

// Lists returns the lists; bit i of a Score is the i-th.
func (c *Checker) Lists() []List { return c.lists }

// Health returns how the lists do, in their order.
func (c *Checker) Health() []Health { return nil }

// Run tests the lists until ctx ends.
func (c *Checker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
