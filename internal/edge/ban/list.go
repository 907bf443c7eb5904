package ban

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Entry is one banned source or network.
type Entry struct {
	Prefix netip.Prefix // an address is a prefix of its whole length
	Since  time.Time
	// Until is when the ban ends: for a source, unless it sends again (what
	// the kernel saw of that is known within a minute).
	Until  time.Time
	Why    string
	Count  int  // how often it was banned or, past the kernel, turned away
	Fixed  bool // banned by Add: packets do not prolong it
	Kernel bool // in the kernel's set
}

// List is the list of banned sources.
type List struct {
	o      Options
	log    *slog.Logger
	kernel kernel        // nil: never to be had. Used by New, and then by Run alone
	wake   chan struct{} // tells Run that the kernel is to be told something

	mu  sync.Mutex
	m   *machine // guarded by mu
	why string   // why the kernel is not used, or what it cannot do; guarded by mu
}

// New makes a list and, unless the kernel is off, the kernel's table. It is to
// be called before the process gives up root: the thread that it starts keeps
// the capability that changes of the table need.
func New(o Options) (*List, error) {
	o = o.withDefaults()
	l := &List{o: o, log: telemetry.Logger(o.Log, "ban"), wake: make(chan struct{}, 1), m: newMachine(o)}
	if o.Kernel == Off {
		l.why = "switched off by the configuration"
		l.log.Info("banned sources are refused at accept", telemetry.Reason, l.why)
		return l, nil
	}
	k, err := newKernel(o)
	if err == nil {
		l.kernel, l.m.link = k, linkDown
		err = l.connect(context.Background(), whyBefore)
	}
	switch {
	case err == nil:
		l.log.Info("the kernel drops the packets of banned sources", telemetry.Count, l.m.bans.len())
	case o.Kernel == Require:
		if l.kernel != nil {
			l.kernel.close()
		}
		return nil, fmt.Errorf("ban in the kernel: %s: %w", explain(err), err)
	default:
		l.why = explain(err)
		l.log.Warn("banned sources are refused at accept, not by the kernel", telemetry.Reason, l.why)
	}
	l.measure()
	return l, nil
}

// Probe tells why the kernel could not be used for bans by this process as it
// is now; nil if it could. It changes nothing that lasts.
func Probe(o Options) error {
	o = o.withDefaults()
	o.Table += probeSuffix
	k, err := newKernel(o)
	if err != nil {
		return err
	}
	defer k.close()
	if _, err := k.build(context.Background()); err != nil {
		return errors.New(explain(err))
	}
	return k.remove(context.Background())
}

// probeSuffix makes a table's name one that no host uses.
const probeSuffix = "_probe"

// Reload replaces the networks that are never banned, and ends bans in them.
func (l *List) Reload(never []netip.Prefix) {
	l.mu.Lock()
	l.m.reload(never)
	l.mu.Unlock()
	l.poke()
}

// Ban bans an address until it has been silent for Options.Timeout, unless it
// is exempt. If with is its /64, all of that is banned as one source, unless
// anything in it is exempt. It never blocks.
func (l *List) Ban(a netip.Addr, with netip.Prefix, why string) {
	now := l.o.Clock.Now()
	l.mu.Lock()
	outcome := l.m.ban(a, with, why, now)
	l.mu.Unlock()
	l.o.Metrics.bans.WithLabelValues(outcome).Inc()
	l.poke()
}

// Banned tells whether an address is banned. It is for what came past the
// kernel: to be asked about prolongs a ban.
func (l *List) Banned(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m.bans.len() == 0 && len(l.m.fixed.of) == 0 {
		return false
	}
	return l.m.banned(a, l.o.Clock.Now())
}

// Add bans an address or a network for a fixed time, which packets do not
// prolong. It is an error if that covers what is never banned. d of 0 is
// Options.Timeout.
func (l *List) Add(p netip.Prefix, why string, d time.Duration) error {
	now := l.o.Clock.Now()
	l.mu.Lock()
	err := l.m.add(p, why, d, now)
	l.mu.Unlock()
	l.poke()
	return err
}

// Remove ends every ban that holds an address, or the ban of exactly this
// network, and gives what was banned. On an error it is ended here but goes on
// in the kernel.
func (l *List) Remove(p netip.Prefix) ([]netip.Prefix, error) {
	l.mu.Lock()
	ended, down, why := l.m.remove(p), l.m.link == linkDown, l.why
	l.mu.Unlock()
	l.poke()
	if len(ended) > 0 && down {
		return ended, fmt.Errorf("the kernel cannot be told now (%s) that %s is banned no more: if it has the ban, it ends there by itself or when it can be told", why, ended)
	}
	return ended, nil
}

// Entries gives all bans, the latest first.
func (l *List) Entries() []Entry {
	l.mu.Lock()
	all := l.m.entries(l.o.Clock.Now())
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b Entry) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return a.Prefix.Compare(b.Prefix)
	})
	return all
}

// Len gives how many sources and networks are banned.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m.bans.len() + len(l.m.fixed.of)
}

// Why tells of the ban that holds an address or all of a network, or in words
// why there is none or cannot be.
func (l *List) Why(p netip.Prefix) (Entry, string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m.why(p, l.o.Clock.Now())
}

// Authenticated exempts an address for a day, and ends its ban and that of its
// /64.
func (l *List) Authenticated(a netip.Addr) {
	l.mu.Lock()
	l.m.authenticated(a, l.o.Clock.Now())
	l.mu.Unlock()
	l.poke()
}

// State tells whether the kernel drops what banned sources send; and if it
// does not, why, or if it does, what it cannot do.
func (l *List) State() (kernel bool, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m.link == linkUp, l.why
}

// poke wakes Run if there is something to tell the kernel.
func (l *List) poke() {
	l.mu.Lock()
	pending := l.m.pending()
	l.mu.Unlock()
	if !pending {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
