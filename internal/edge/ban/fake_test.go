package ban

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

var errFake = errors.New("the kernel does not want")

// fake is a kernel's packet filter in memory, as strict as the real one about
// what is put in twice or taken out of what has none.
type fake struct {
	mu      sync.Mutex // guards all
	clock   sys.Clock
	timeout time.Duration
	there   bool // the table
	changed bool // its rules
	fail    bool
	closed  bool
	set     map[netip.Prefix]time.Time // ends
	nets    map[netip.Prefix]time.Time
	batches []batch
	during  func(context.Context) error // called in apply; nil: nothing
}

func newFake(clock sys.Clock, timeout time.Duration) *fake {
	return &fake{clock: clock, timeout: timeout, set: map[netip.Prefix]time.Time{}, nets: map[netip.Prefix]time.Time{}}
}

func (f *fake) build(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return false, errFake
	}
	lost := !f.there
	if lost {
		clear(f.set)
		clear(f.nets)
	}
	f.there, f.changed = true, false
	return lost, nil
}

func (f *fake) check(context.Context) (bool, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.there && !f.changed && !f.fail, 0
}

func (f *fake) dumpSources(_ context.Context, sources func([]element)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return errFake
	}
	f.expire()
	for p, end := range f.set {
		sources([]element{{p, end.Sub(f.clock.Now())}})
	}
	return nil
}

func (f *fake) dumpNets(context.Context) (all []network, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return nil, errFake
	}
	f.expire()
	for p, end := range f.nets {
		all = append(all, network{p, end.Sub(f.clock.Now())})
	}
	return all, nil
}

func (f *fake) apply(ctx context.Context, b batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.during != nil {
		if err := f.during(ctx); err != nil {
			return err
		}
	}
	if f.fail || !f.there {
		return errFake
	}
	f.expire()
	now := f.clock.Now()
	for _, e := range append(b.add, b.again...) {
		f.set[e.source] = now.Add(e.left)
	}
	for _, p := range b.del {
		delete(f.set, p)
	}
	if b.setNets {
		clear(f.nets)
		for _, n := range b.nets {
			for q := range f.nets {
				if q.Overlaps(n.prefix) {
					return errors.New("intervals overlap")
				}
			}
			f.nets[n.prefix] = now.Add(n.left)
		}
	}
	f.batches = append(f.batches, b)
	return nil
}

func (f *fake) ask(_ context.Context, all []element) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return errFake
	}
	f.expire()
	for i, e := range all {
		if end, ok := f.set[e.source]; ok {
			all[i].left = end.Sub(f.clock.Now())
		}
	}
	return nil
}

func (f *fake) remove(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return errFake
	}
	f.flush()
	return nil
}

// flush is another program that deletes the table.
func (f *fake) flush() {
	f.there = false
	clear(f.set)
	clear(f.nets)
}

func (f *fake) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

func (f *fake) note() string { return "" }

// failing makes the kernel fail, or not.
func (f *fake) failing(fail bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// holds tells whether an address is in the set.
func (f *fake) holds(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.set[single(a)]
	return ok
}

// told gives how many changes each batch since the last call had.
func (f *fake) told() (sizes []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.batches {
		sizes = append(sizes, b.len())
	}
	f.batches = nil
	return sizes
}

func (f *fake) expire() {
	now := f.clock.Now()
	for p, end := range f.set {
		if !end.After(now) {
			delete(f.set, p)
		}
	}
	for p, end := range f.nets {
		if !end.After(now) {
			delete(f.nets, p)
		}
	}
}

// packet is a packet of a source; it tells whether it was dropped.
func (f *fake) packet(a netip.Addr) bool {
	f.expire()
	if !f.there || f.changed {
		return false
	}
	if p, ok := f.match(a); ok {
		f.set[p] = f.clock.Now().Add(f.timeout)
		return true
	}
	for p := range f.nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// match gives the element of the set that drops an address: the first in the
// order of the rules.
func (f *fake) match(a netip.Addr) (netip.Prefix, bool) {
	if _, ok := f.set[single(a)]; ok {
		return single(a), true
	}
	h, is := home(a)
	_, ok := f.set[h]
	return h, is && ok
}

var start2026 = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// userSpace makes a list without a kernel on a clock that stands still.
func userSpace(t testing.TB, o Options) (*List, *sim.Clock) {
	t.Helper()
	clock := sim.NewClock(start2026)
	o.Clock, o.Kernel = clock, Off
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, clock
}

// withKernel makes a list before a kernel, and what Run would do for it.
func withKernel(o Options, f *fake) *runner {
	o = o.withDefaults()
	l := &List{o: o, wake: make(chan struct{}, 1), m: newMachine(o), kernel: f}
	l.log = discard()
	l.m.link = linkDown
	now := o.Clock.Now()
	return &runner{List: l, retry: retryFirst, readAll: readAllMax, checkAt: now, readAt: now, retryAt: now}
}
