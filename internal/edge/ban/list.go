package ban

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Entry is one banned source or network.
type Entry struct {
	Prefix netip.Prefix // a single address is a prefix of its whole length
	Since  time.Time
	Until  time.Time // unless it sends again, for a source; the end, for what an operator banned
	Why    string
	Count  int  // how often it was banned, or had to be turned away in user space
	Fixed  bool // banned by Add: packets do not prolong it
	Kernel bool // in the kernel's set
}

// List is the list of banned sources.
type List struct {
	o  Options
	mu sync.Mutex
	m  map[netip.Addr]Entry // guarded by mu
}

// New makes a list and, unless the kernel is off, the kernel's table. It is to
// be called before the process gives up root.
func New(o Options) (*List, error) {
	return &List{o: o.withDefaults(), m: map[netip.Addr]Entry{}}, nil
}

// Run carries bans to the kernel until the context ends.
func (l *List) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Reload replaces the networks that are never banned.
func (l *List) Reload(never []netip.Prefix) {}

// Ban bans an address, unless it is exempt. It never blocks.
func (l *List) Ban(a netip.Addr, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Clock.Now()
	l.m[a] = Entry{Prefix: netip.PrefixFrom(a, a.BitLen()), Since: now, Until: now.Add(l.o.Timeout), Why: why}
}

// Banned tells whether an address is banned.
func (l *List) Banned(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[a].Until.After(l.o.Clock.Now())
}

// Add bans an address or a network for a fixed time, which packets do not
// prolong. It is an error if that covers what is never banned. d of 0 is
// Options.Timeout.
func (l *List) Add(p netip.Prefix, why string, d time.Duration) error { return errors.ErrUnsupported }

// Remove ends the ban of exactly this address or network, and tells whether
// there was one.
func (l *List) Remove(p netip.Prefix) (bool, error) { return false, nil }

// Entries gives all bans, the latest first.
func (l *List) Entries() []Entry { return nil }

// Why tells why an address is banned, or in words why it is not or cannot be.
func (l *List) Why(a netip.Addr) (Entry, string, bool) { return Entry{}, "", false }

// Authenticated exempts an address for a day, and ends its ban.
func (l *List) Authenticated(a netip.Addr) {}

// State tells whether the kernel drops what banned sources send, and if it
// does not, why.
func (l *List) State() (kernel bool, why string) { return false, "not written yet" }
