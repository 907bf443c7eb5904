package ban

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// Addresses and networks of the models: few, so that they meet. Those of IPv6
// are in four /64s.
func modelAddr(v6 bool, i int) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	b := netip.MustParseAddr("2001:db8::").As16()
	b[7], b[15] = byte(i/4), byte(i%4)
	return netip.AddrFrom16(b)
}

func modelAddrs() (all []netip.Addr) {
	for i := range 16 {
		all = append(all, modelAddr(false, i), modelAddr(true, i))
	}
	return all
}

func drawAddr(t *rapid.T) netip.Addr {
	return modelAddr(rapid.Bool().Draw(t, "v6"), rapid.IntRange(0, 15).Draw(t, "host"))
}

func drawPrefix(t *rapid.T) netip.Prefix {
	a, bits := drawAddr(t), rapid.IntRange(0, 4).Draw(t, "bits")
	if a.Is6() && rapid.Bool().Draw(t, "wide") {
		bits += 62 // about the length of a /64
	}
	p, _ := a.Prefix(a.BitLen() - bits)
	return p
}

// drawSource is an address and what is to be banned with it.
func drawSource(t *rapid.T) (a netip.Addr, with netip.Prefix) {
	a = drawAddr(t)
	with = single(a)
	if h, ok := home(a); ok && rapid.IntRange(0, 3).Draw(t, "alone") > 0 {
		with = h
	}
	return a, with
}

// model is what the list should be: plain maps.
type model struct {
	timeout time.Duration
	max     int
	bans    map[netip.Prefix]time.Time
	exempt  map[netip.Addr]time.Time
	fixed   map[netip.Prefix]time.Time
	never   []netip.Prefix
}

// spared tells whether anything in a network is exempt.
func (m *model) spared(p netip.Prefix, now time.Time) bool {
	for a, end := range m.exempt {
		if p.Contains(a) && end.After(now) {
			return true
		}
	}
	return slices.ContainsFunc(m.never, p.Overlaps)
}

func (m *model) ban(a netip.Addr, with netip.Prefix, now time.Time) {
	p := single(a)
	if m.spared(p, now) {
		return
	}
	if with != p && !m.spared(with, now) {
		p = with
	} else if h, ok := home(a); ok {
		delete(m.bans, h)
	}
	if _, ok := m.bans[p]; !ok && len(m.bans) >= m.max {
		var first netip.Prefix
		for b, end := range m.bans {
			if !first.IsValid() || end.Before(m.bans[first]) {
				first = b
			}
		}
		delete(m.bans, first)
	}
	m.bans[p] = now.Add(m.timeout)
}

func (m *model) banned(a netip.Addr, now time.Time, prolong bool) bool {
	h, _ := home(a)
	for _, p := range []netip.Prefix{single(a), h} {
		if m.bans[p].After(now) {
			if prolong {
				m.bans[p] = now.Add(m.timeout)
			}
			return true
		}
	}
	for p, end := range m.fixed {
		if p.Contains(a) && end.After(now) && !m.spared(single(a), now) {
			return true
		}
	}
	return false
}

func (m *model) add(p netip.Prefix, now, end time.Time) bool {
	if m.spared(p, now) {
		return false
	}
	m.fixed[p] = end
	return true
}

func (m *model) reload(never []netip.Prefix) {
	m.never = never
	for p := range m.bans {
		if slices.ContainsFunc(never, p.Overlaps) {
			delete(m.bans, p)
		}
	}
	for p := range m.fixed {
		if slices.ContainsFunc(never, func(q netip.Prefix) bool { return q.Overlaps(p) && q.Bits() <= p.Bits() }) {
			delete(m.fixed, p)
		}
	}
}

func (m *model) forget(now time.Time) {
	for p, end := range m.bans {
		if !end.After(now) {
			delete(m.bans, p)
		}
	}
}

// remove ends what holds an address, or just this network, and says what.
func (m *model) remove(p netip.Prefix, now time.Time) (ended []netip.Prefix) {
	for q, end := range m.fixed {
		if q == p || p.IsSingleIP() && q.Contains(p.Addr()) {
			if end.After(now) {
				ended = append(ended, q)
			}
			delete(m.fixed, q)
		}
	}
	for q := range m.bans {
		if q == p || p.IsSingleIP() && q.Contains(p.Addr()) {
			ended = append(ended, q)
			delete(m.bans, q)
		}
	}
	slices.SortFunc(ended, netip.Prefix.Compare)
	return slices.Compact(ended)
}

func newModel(o Options) *model {
	return &model{timeout: o.Timeout, max: o.Max, bans: map[netip.Prefix]time.Time{},
		exempt: map[netip.Addr]time.Time{}, fixed: map[netip.Prefix]time.Time{}}
}

// pair is a list without a kernel and the model of it.
type pair struct {
	l     *List
	m     *model
	clock *sim.Clock
}

// tick moves the clock so that no two ends are alike.
func (p *pair) tick() time.Time {
	p.clock.Advance(time.Millisecond)
	p.m.forget(p.clock.Now())
	return p.clock.Now()
}

func (p *pair) ban(t *rapid.T) {
	now := p.tick()
	a, with := drawSource(t)
	p.l.mu.Lock()
	p.l.m.expire(now, p.m.max) // as Run does; the model forgets too
	p.l.mu.Unlock()
	p.l.Ban(a, with, "test")
	p.m.ban(a, with, now)
}

func (p *pair) knock(t *rapid.T) {
	now, a := p.tick(), drawAddr(t)
	if got, want := p.l.Banned(a), p.m.banned(a, now, true); got != want {
		t.Fatalf("banned %s: got %v, want %v", a, got, want)
	}
}

func (p *pair) add(t *rapid.T) {
	q, d := drawPrefix(t), time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes"))*time.Minute
	now := p.clock.Now()
	if got, want := p.l.Add(q, "test", d) == nil, p.m.add(q, now, now.Add(d)); got != want {
		t.Fatalf("add %s: got %v, want %v", q, got, want)
	}
}

func (p *pair) remove(t *rapid.T) {
	q := drawPrefix(t)
	want := p.m.remove(q, p.clock.Now())
	p.l.mu.Lock()
	p.l.m.expire(p.clock.Now(), p.m.max)
	p.l.m.expireFixed(p.clock.Now())
	p.l.mu.Unlock()
	got, err := p.l.Remove(q)
	slices.SortFunc(got, netip.Prefix.Compare)
	if !slices.Equal(got, want) || err != nil {
		t.Fatalf("remove %s: got %v, %v, want %v", q, got, err, want)
	}
}

func (p *pair) login(t *rapid.T) {
	a := drawAddr(t)
	p.l.Authenticated(a)
	p.m.exempt[a] = p.clock.Now().Add(exemptDay)
	h, _ := home(a)
	delete(p.m.bans, single(a))
	delete(p.m.bans, h)
}

func (p *pair) reload(t *rapid.T) {
	never := rapid.SliceOfN(rapid.Custom(drawPrefix), 0, 2).Draw(t, "never")
	p.l.Reload(never)
	p.m.reload(never)
}

func (p *pair) advance(t *rapid.T) {
	p.clock.Advance(time.Duration(rapid.SampledFrom([]int{1, 9, 11, 60, 1441}).Draw(t, "minutes")) * time.Minute)
	p.m.forget(p.clock.Now())
}

func (p *pair) same(t *rapid.T) {
	for _, a := range modelAddrs() {
		if _, _, got := p.l.Why(single(a)); got != p.m.banned(a, p.clock.Now(), false) {
			t.Fatalf("why %s: got %v, want %v", a, got, !got)
		}
	}
	if n := p.l.m.bans.len(); n > p.m.max {
		t.Fatalf("got %d bans, want at most %d", n, p.m.max)
	}
}

// TestModel_userSpace compares the list without a kernel with plain maps.
func TestModel_userSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Timeout: 10 * time.Minute, Max: 8}.withDefaults()
		clock := sim.NewClock(start2026)
		o.Clock, o.Kernel = clock, Off
		l, _ := New(o)
		p := &pair{l: l, m: newModel(o), clock: clock}
		t.Repeat(map[string]func(*rapid.T){
			"ban": p.ban, "knock": p.knock, "add": p.add, "remove": p.remove,
			"login": p.login, "reload": p.reload, "advance": p.advance, "": p.same,
		})
	})
}

// world is a list before a kernel that fails, forgets and is changed by
// others, with sources that send.
type world struct {
	*runner
	f      *fake
	clock  *sim.Clock
	never  []netip.Prefix
	logins map[netip.Addr]time.Time
}

func newWorld() *world {
	clock := sim.NewClock(start2026)
	o := Options{Timeout: 10 * time.Minute, Max: 8, Clock: clock}
	f := newFake(clock, o.Timeout)
	w := &world{runner: withKernel(o, f), f: f, clock: clock, logins: map[netip.Addr]time.Time{}}
	w.pass(2 * time.Second)
	return w
}

// pass lets time pass, with what Run does meanwhile.
func (w *world) pass(d time.Duration) {
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); {
		w.clock.Advance(tickEvery)
		w.maintain(context.Background())
	}
}

// rest lets the list have its way with the kernel, and looks at both.
func (w *world) rest(t *rapid.T) {
	w.f.failing(false)
	w.pass(2*retryMax + readEvery) // it may have failed before
	w.flush(context.Background())
	w.checkSame(t)
}

func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"ban": func(t *rapid.T) {
			a, with := drawSource(t)
			w.Ban(a, with, "test")
		},
		"tell": func(*rapid.T) { w.flush(context.Background()) },
		"send": func(t *rapid.T) {
			if a := drawAddr(t); !w.f.packet(a) {
				w.Banned(a)
			}
		},
		"add": func(t *rapid.T) {
			_ = w.Add(drawPrefix(t), "test", time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes"))*time.Minute)
		},
		"remove": func(t *rapid.T) { _, _ = w.Remove(drawPrefix(t)) },
		"login": func(t *rapid.T) {
			a := drawAddr(t)
			w.Authenticated(a)
			w.logins[a] = w.clock.Now()
		},
		"reload": func(t *rapid.T) {
			w.never = rapid.SliceOfN(rapid.Custom(drawPrefix), 0, 2).Draw(t, "never")
			w.Reload(w.never)
		},
		"fail":       func(t *rapid.T) { w.f.failing(rapid.Bool().Draw(t, "fail")) },
		"flush":      func(*rapid.T) { w.f.flush() },
		"flush set":  func(*rapid.T) { clear(w.f.set) },
		"flush nets": func(*rapid.T) { clear(w.f.nets) },
		"rules":      func(*rapid.T) { w.f.changed = true },
		"advance":    func(t *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 1200).Draw(t, "seconds")) * time.Second) },
		"rest":       w.rest,
	}
}

// TestModel_kernel: after a rest the kernel must have what the list has, and
// nothing that is exempt.
func TestModel_kernel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		all := w.actions()
		all["put in"] = func(t *rapid.T) {
			_, with := drawSource(t)
			w.f.set[with] = w.clock.Now().Add(w.o.Timeout)
		}
		t.Repeat(all)
	})
}

// TestModel_kernelOfMany is the same with a list that is too long to be read
// whole; what others put in is then not found.
func TestModel_kernelOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.readAll = -1
		t.Repeat(w.actions())
	})
}

// checkSame compares what the kernel drops with what the list says, for every
// address of the models.
func (w *world) checkSame(t *rapid.T) {
	now := w.clock.Now()
	w.f.expire()
	if len(w.f.set) > w.o.Max || w.m.bans.len() > w.o.Max {
		t.Fatalf("got %d in the kernel and %d in the list, want at most %d", len(w.f.set), w.m.bans.len(), w.o.Max)
	}
	for _, a := range modelAddrs() {
		_, dropped := w.f.match(a)
		for p := range w.f.nets {
			dropped = dropped || p.Contains(a)
		}
		e, why, banned := w.Why(single(a))
		// An end that the kernel saw last is as old as the last reading.
		if banned != dropped && (!banned || e.Until.After(now)) {
			t.Fatalf("%s: in the kernel %v, in the list %v (%s)", a, dropped, banned, why)
		}
		login, in := w.logins[a]
		exempt := in && now.Sub(login) < exemptDay || slices.ContainsFunc(w.never, func(p netip.Prefix) bool { return p.Contains(a) })
		if exempt && dropped {
			t.Fatalf("%s is exempt and in the kernel", a)
		}
	}
}
