package greylist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// What the zero value of an option means.
const (
	waitDefault   = time.Minute         // most programs that send spam come back sooner or never
	windowDefault = 2 * 24 * time.Hour  // servers give up after 4 or 5 days, but retry at least daily
	keepDefault   = 60 * 24 * time.Hour // monthly newsletters and bills stay known
	// knownMaxDefault is some thirty times the servers that write to a site of
	// 1,000 people in a month.
	knownMaxDefault   = 100_000
	waitingMaxDefault = 100_000 // 30 MB; those of two days at one new sender in two seconds
	// knownMost bounds MaxKnown: 300 MB, and half of what a file may hold.
	knownMost = 10_000_000
	saveEvery = time.Minute
)

// Options of a Table. The zero value of a field is its default.
type Options struct {
	Enabled    bool          // false: everybody passes; who is accepted is remembered all the same
	Wait       time.Duration // an attempt that comes so long after the first passes; 60 s
	Window     time.Duration // who has not come back in this time is forgotten; 2 days
	Keep       time.Duration // who has passed is known for so long after its last message; 60 days
	MaxKnown   int           // pools and networks at most, rounded up to 64; 100,000
	MaxWaiting int           // waiting senders at most; 100,000
	Clock      sys.Clock     // nil: the system's; only Run and Close ask it
	Rand       io.Reader     // nil: the system's; keys the names of a new file
	Log        *slog.Logger
	Metrics    *Metrics
}

func (o *Options) defaults() error {
	if o.Wait < 0 || o.Window < 0 || o.Keep < 0 || o.MaxKnown < 0 || o.MaxWaiting < 0 {
		return errors.New("greylist: a time or a bound below zero")
	}
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Wait, waitDefault)
	set(&o.Window, windowDefault)
	set(&o.Keep, keepDefault)
	if o.MaxKnown == 0 {
		o.MaxKnown = knownMaxDefault
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = waitingMaxDefault
	}
	if o.Wait >= o.Window {
		return fmt.Errorf("greylist: the wait of %s leaves nothing of the window of %s", o.Wait, o.Window)
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.MaxKnown > knownMost {
		return fmt.Errorf("greylist: more than %d known pools", knownMost)
	}
	o.Log = telemetry.Logger(o.Log, "greylist")
	return nil
}

// Table is the memory.
type Table struct {
	o      Options
	file   sys.Snapshot
	secret secret // set by Open
	known  *known

	mu      sync.Mutex
	queue   queue // guarded by mu
	tally   tally // guarded by mu
	dirty   atomic.Bool
	writing sync.Mutex // held while the file is written
}

// Open reads the memory from a file, which need not be there. A file that
// cannot be used is set aside and logged, and is no error; the error is about
// the options.
func Open(fs sys.FS, path string, o Options) (*Table, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	t := &Table{o: o, file: sys.Snapshot{FS: fs, Path: path, OctetsMax: fileOctetsMax}, known: newKnown(o.Keep, o.MaxKnown)}
	t.queue.byName = map[hash]*waiter{}
	if !t.load() {
		if _, err := io.ReadFull(o.Rand, t.secret[:]); err != nil {
			return nil, fmt.Errorf("greylist: make a key: %w", err)
		}
	}
	t.gauges()
	return t, nil
}

// Run saves the memory every few minutes if it changed, until ctx is done.
// What cannot be saved is logged and tried again.
func (t *Table) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.o.Clock.After(saveEvery):
		}
		now := t.o.Clock.Now()
		t.mu.Lock()
		t.expire(now.Unix())
		t.mu.Unlock()
		if t.known.sweep(now) {
			t.dirty.Store(true)
		}
		t.gauges()
		if err := t.save(); err != nil {
			t.o.Log.Error("save the greylist", telemetry.Err, err)
		}
	}
}

// Close saves the memory. Run must have ended.
func (t *Table) Close() error { return t.save() }

// KnownAddr tells whether a message was accepted from the address's network.
func (t *Table) KnownAddr(a netip.Addr, now time.Time) bool {
	if !a.IsValid() {
		return false
	}
	_, accepted := t.known.get(t.secret.name(kindNetwork, network(a), "", ""), now)
	return accepted
}

// Known tells whether a message was accepted from the sender's pool.
func (t *Table) Known(s Sender, now time.Time) bool {
	site, spf := t.secret.poolNames(s)
	if _, accepted := t.known.get(site, now); accepted {
		return true
	}
	_, accepted := t.known.get(spf, now)
	return accepted
}

// Accepted says that a message of the sender was accepted: its pool and its
// network are known from now on.
func (t *Table) Accepted(s Sender, now time.Time) {
	site, spf := t.secret.poolNames(s)
	seen := newStamp(now, true)
	changed := t.known.put(site, seen)
	changed = t.known.put(spf, seen) || changed
	if s.Addr.IsValid() {
		changed = t.known.put(t.secret.name(kindNetwork, network(s.Addr), "", ""), seen) || changed
	}
	if changed {
		t.dirty.Store(true)
		t.o.Metrics.known.Set(float64(t.known.count.Load()))
	}
	bySite, bySPF := t.secret.waitNames(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	w, _ := t.queue.find(bySite, bySPF)
	if w == nil {
		return
	}
	t.dirty.Store(true)
	w.settle()
	if w.returned != 0 && !w.accepted {
		w.accepted = true
		t.tally.accepted(w)
	}
	if w.accepted && len(w.held) == 0 {
		t.queue.remove(w)
	}
}

func (t *Table) gauges() {
	t.mu.Lock()
	n := t.queue.count
	t.mu.Unlock()
	t.o.Metrics.known.Set(float64(t.known.count.Load()))
	t.o.Metrics.waiting.Set(float64(n))
}

// toHash names a recipient among those of one sender.
func (t *Table) toHash(to message.Address) hash {
	return t.secret.name(kindTo, 0, to.Local, to.Domain)
}
