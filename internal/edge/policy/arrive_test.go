package policy

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestArrive(t *testing.T) {
	a := addr("192.0.2.7")
	tests := []struct {
		name  string
		set   func(h *house)
		opt   func(o *Options)
		kind  EntryKind
		why   string
		known bool
		said  bool
	}{
		{name: "stranger", kind: EntryWait, why: whyStranger},
		{name: "own network", opt: func(o *Options) { o.Allow = prefixes("192.0.2.0/24") }, kind: EntryAdmit, why: whyAllowed, known: true},
		{name: "own network, banned all the same", opt: func(o *Options) { o.Allow = prefixes("192.0.2.0/24") },
			set: func(h *house) { h.bans.Ban(a, source(a), "x") }, kind: EntryAdmit, why: whyAllowed, known: true},
		{name: "banned", set: func(h *house) { h.bans.Ban(a, source(a), "x") }, kind: EntryRefuse, why: whyBanned},
		{name: "known", set: func(h *house) { h.grey.known[a] = true }, kind: EntryAdmit, why: whyKnown, known: true},
		{name: "denied waits for its refusal", opt: func(o *Options) { o.Deny = prefixes("192.0.2.0/24") }, kind: EntryWait, why: whyStranger},
		{name: "denied, and known", opt: func(o *Options) { o.Deny = prefixes("192.0.2.0/24") },
			set: func(h *house) { h.grey.known[a] = true }, kind: EntryWait, why: whyStranger},
		{name: "too many of the address", opt: func(o *Options) { o.Caps.Address = 2 },
			set: func(h *house) { h.Arrive(a, start()); h.Arrive(a, start()) }, kind: EntryRefuse, why: whyCap, said: true},
		{name: "too many of the network", opt: func(o *Options) { o.Caps.Network = 2 },
			set: func(h *house) { h.Arrive(addr("192.0.2.1"), start()); h.Arrive(addr("192.0.2.2"), start()) }, kind: EntryRefuse, why: whyCap, said: true},
		{name: "another network has its own cap", opt: func(o *Options) { o.Caps.Network = 2 },
			set: func(h *house) { h.Arrive(addr("192.0.3.1"), start()); h.Arrive(addr("192.0.3.2"), start()) }, kind: EntryWait, why: whyStranger},
		{name: "too often", opt: func(o *Options) { o.Rates.Connections.Address = Rate{Minute: 2} },
			set: func(h *house) { h.Arrive(a, start()); h.Arrive(a, start()) }, kind: EntryRefuse, why: whyRate, said: true},
		{name: "known come oftener", opt: func(o *Options) { o.Rates.Connections.Address = Rate{Minute: 2} },
			set: func(h *house) { h.grey.known[a] = true; h.Arrive(a, start()); h.Arrive(a, start()) }, kind: EntryAdmit, why: whyKnown, known: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, tt.opt)
			if tt.set != nil {
				tt.set(h)
			}
			e := h.Arrive(netip.AddrFrom16(a.As16()), start()) // mapped, as sockets may give it
			if e.Kind != tt.kind || e.Why != tt.why || e.Known != tt.known || (e.Reply != nil) != tt.said {
				t.Errorf("got %v (%s, known %v, reply %v), want %v (%s, known %v, reply %v)",
					e.Kind, e.Why, e.Known, e.Reply, tt.kind, tt.why, tt.known, tt.said)
			}
			if e.Reply != nil && e.Reply.Code != 421 {
				t.Errorf("reply %v, want a 421", e.Reply)
			}
		})
	}
}

func TestArrive_placesAreFreed(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Caps = Caps{Address: 1} })
	here := func() bool { return h.Arrive(addr("192.0.2.7"), h.clock.Now()).Kind == EntryWait }
	if !here() || here() {
		t.Fatal("the cap of one does not hold")
	}
	h.Left(h.guest(func(g *Guest) { g.ID, g.Ended = "left", EndedQuit }))
	if !here() {
		t.Error("no place after the guest has left")
	}
	passed := h.guest(func(g *Guest) { g.ID = "passed" })
	h.Decide(passed)
	if !here() || here() {
		t.Error("a guest that passed frees one place")
	}
	h.Decide(passed) // a second verdict, or a hand-over that failed, is not a second place
	h.Left(passed)
	if here() {
		t.Error("a guest freed two places")
	}
	h.clock.Advance(stayMax + time.Second)
	if !here() {
		t.Error("a place is lost for ever")
	}
}

func TestLevels(t *testing.T) {
	tests := []struct {
		name           string
		guests, budget float64
		arrivals       int // a second, for five seconds
		level          Level
	}{
		{"nothing", 0, 0, 0, Calm},
		{"some guests", 0.49, 0.49, 10, Calm},
		{"many guests", 0.5, 0, 0, Busy},
		{"much memory", 0, 0.5, 0, Busy},
		{"many arrivals", 0, 0, 150, Busy},
		{"nearly full", 0.97, 0, 0, Stormy},
		{"memory nearly used up", 0, 0.9, 0, Stormy},
		{"a wave", 0, 0, 1000, Stormy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(o *Options) { o.Rates.Connections.Address = Rate{}; o.Caps = Caps{Address: 1 << 15} })
			for range 5 {
				for range tt.arrivals {
					h.Arrive(addr("192.0.2.7"), h.clock.Now())
				}
				h.clock.Advance(time.Second)
				h.SetLoad(tt.guests, tt.budget)
			}
			if h.Level() != tt.level {
				t.Errorf("level = %v, want %v", h.Level(), tt.level)
			}
			if e := h.Arrive(addr("198.51.100.1"), h.clock.Now()); e.Wait != 4*time.Second {
				t.Errorf("wait = %v, want 4s: a storm delays nobody", e.Wait)
			}
		})
	}
}

func TestLevels_endSlowly(t *testing.T) {
	h := newHouse(t, nil)
	var got []string
	for _, step := range []struct {
		guests float64
		for_   time.Duration
	}{{0.98, 0}, {0.8, time.Hour}, {0.5, 20 * time.Second}, {0.8, time.Second}, {0.5, 29 * time.Second}, {0.5, 2 * time.Second},
		{0.3, 29 * time.Second}, {0.3, 2 * time.Second}} {
		h.SetLoad(step.guests, 0)
		h.clock.Advance(step.for_)
		h.SetLoad(step.guests, 0)
		got = append(got, h.Level().String())
	}
	want := "stormy stormy stormy stormy stormy busy busy calm"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("levels = %s, want %s", s, want)
	}
}

func TestTrusted(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Trusted = []message.Domain{"big.test"}; o.Learned = 2 })
	h.spf.nets["big.test"] = prefixes("198.51.100.0/25", "2001:db8:1::/48")
	h.spf.nets["wide.test"] = prefixes("0.0.0.0/0", "::/0", "198.51.0.0/16")
	h.spf.nets["b.test"], h.spf.nets["c.test"] = prefixes("203.0.113.8/32"), prefixes("203.0.113.9/32")
	h.Correspond("WIDE.test")
	h.Correspond("no domain")
	ask := func() {
		for len(h.pools.queue) > 0 {
			next := h.pools.queue[0]
			h.pools.queue = h.pools.queue[1:]
			h.pools.fetch(t.Context(), next, h.deferredOf)
		}
	}
	ask()
	for a, want := range map[string]EntryKind{
		"198.51.100.1": EntryAdmit, "198.51.100.200": EntryAdmit, "2001:db8:1::5": EntryAdmit,
		"192.0.2.1": EntryWait, "2001:db8:2::5": EntryWait, "198.50.1.1": EntryWait,
	} {
		if e := h.Arrive(addr(a), h.clock.Now()); e.Kind != want {
			t.Errorf("%s: %v (%s), want %v", a, e.Kind, e.Why, want)
		}
	}
	for _, d := range []string{"b.test", "c.test"} { // the third one is one too many
		h.clock.Advance(time.Minute)
		h.Correspond(d)
		ask()
	}
	for a, want := range map[string]EntryKind{"198.51.100.1": EntryAdmit, "198.51.100.200": EntryWait, "203.0.113.8": EntryAdmit, "203.0.113.9": EntryAdmit} {
		if e := h.Arrive(addr(a), h.clock.Now()); e.Kind != want {
			t.Errorf("after two more: %s: %v, want %v", a, e.Kind, want)
		}
	}
	h.Reload(Options{Hostname: "mx.here.test", Clock: h.clock})
	if e := h.Arrive(addr("198.51.100.1"), h.clock.Now()); e.Kind != EntryWait {
		t.Errorf("a domain that is no longer trusted: %v, want it to wait", e.Kind)
	}
}

func TestPools_retryFromElsewhere(t *testing.T) {
	h := newHouse(t, nil)
	h.spf.nets["sender.test"] = prefixes("192.0.2.0/24", "198.51.100.0/24")
	if v := h.Decide(h.guest(func(g *Guest) { g.Helo = "box" })); v.Kind != Defer {
		t.Fatalf("first attempt: %v, want defer", v.Kind)
	}
	h.pools.fetch(t.Context(), "sender.test", h.deferredOf)
	h.clock.Advance(2 * time.Minute)
	v := h.Decide(h.guest(func(g *Guest) { g.ID, g.Helo, g.Addr = "second", "otherbox", addr("198.51.100.9") }))
	if v.Kind != Pass || v.By != CheckGreylist {
		t.Errorf("retry from elsewhere in the pool: %v by %s, want pass by greylist", v.Kind, v.By)
	}
}

func TestPools_bounded(t *testing.T) {
	h := newHouse(t, nil)
	for i := range 3 * poolsMax {
		d := message.Domain("d" + strings.Repeat("x", i%50) + time.Duration(i).String() + ".test")
		h.clock.Advance(time.Second)
		h.pools.ask(Sender{Addr: addr("192.0.2.1"), Domain: d}, addressOf("one@here.test"), h.clock.Now())
	}
	if n := len(h.pools.queue); n > poolQueueMax {
		t.Errorf("queue = %d, want at most %d", n, poolQueueMax)
	}
	if n := len(h.pools.domains); n > poolsMax+learnedMax {
		t.Errorf("domains = %d, want at most %d", n, poolsMax+learnedMax)
	}
}

func TestGCRA_neverMoreThanAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := newHasher()
		r := rates{h: &hash, table: newSlots(64)}
		n := rapid.IntRange(1, 50).Draw(t, "n")
		now, events := start(), []time.Time(nil)
		for range rapid.IntRange(1, 300).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
			if r.gcra(1, n, time.Minute, now, false) == 0 != (r.gcra(1, n, time.Minute, now, true) == 0) {
				t.Fatal("peek and take differ")
			} else if r.gcra(2, n, time.Minute, now, false) != 0 {
				t.Fatal("another key is limited")
			}
			if wait := r.gcra(3, n, time.Minute, now, true); wait == 0 {
				events = append(events, now)
			} else if r.gcra(3, n, time.Minute, now.Add(wait-time.Millisecond), false) == 0 || r.gcra(3, n, time.Minute, now.Add(wait), false) != 0 {
				t.Fatalf("told to wait %v, which is wrong", wait)
			}
		}
		for i := range events { // any time of d has at most n + n*d
			for j := i; j < len(events); j++ {
				may := float64(n) + float64(n)*events[j].Sub(events[i]).Minutes()
				if float64(j-i+1) > may+1e-6 {
					t.Fatalf("%d events in %v, want at most %.1f", j-i+1, events[j].Sub(events[i]), may)
				}
			}
		}
	})
}

func TestSlots_forgetTheOldest(t *testing.T) {
	s := newSlots(slotShards * slotWays) // one set a shard
	for i := range uint64(slotWays + 1) {
		s.update((i+1)*slotShards, 0, func(int64) int64 { return int64(100 + i) })
	}
	if got := s.peek(slotShards, 0); got != 0 {
		t.Errorf("the oldest is still there: %d", got)
	}
	if got := s.peek(2*slotShards, 0); got != 101 {
		t.Errorf("the second = %d, want 101", got)
	}
	if got := s.forgotten(); got != 1 {
		t.Errorf("forgotten = %d, want 1", got)
	}
	s.update((slotWays+2)*slotShards, 101, func(int64) int64 { return 200 }) // takes a place that is free by now
	if got := s.forgotten(); got != 1 {
		t.Errorf("forgotten after a free place was taken = %d, want 1", got)
	}
}

func distinct(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0b000000+uint32(i)*256+7)
	if i >= 1<<16 { // go on in IPv6
		var w [16]byte
		w[0], w[1] = 0x20, 0x01
		binary.BigEndian.PutUint32(w[4:], uint32(i))
		return netip.AddrFrom16(w)
	}
	return netip.AddrFrom4(b)
}

func TestBounds_aMillionAddresses(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	h := newHouse(t, func(o *Options) { o.Shadow = []string{"many-errors"} })
	before := heap()
	for i := range 1_000_000 {
		now := start().Add(time.Duration(i) * 10 * time.Millisecond)
		a := distinct(i)
		h.Arrive(a, now)
		g := Guest{ID: time.Duration(i).String(), Addr: a, Arrived: now, Now: now, Faults: ManyErrors, Helo: "a.b.test", Refused: i%2 == 0, Ended: EndedQuit,
			Octets: 100, CPU: time.Millisecond, Questions: 3}
		if i%10 == 0 {
			h.Decide(&g)
		}
		h.Left(&g)
		h.RecipientRefused(&g)
		h.LoginFailed(a)
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("memory has grown by %d KiB, want at most 8 MiB", grown>>10)
	}
	if len(h.bans.why) != 0 {
		t.Errorf("%d addresses banned that came once", len(h.bans.why))
	}
	runtime.KeepAlive(h)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestConcurrently(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Shadow = []string{"helo-not-fqdn"}; o.Bans.Loiterers = true })
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 500 {
				a, now := distinct(w*7+i%20), start().Add(time.Duration(i)*time.Millisecond)
				h.Arrive(a, now)
				g := Guest{ID: a.String() + now.String(), Addr: a, Helo: "box", Now: now, Arrived: now, HasFrom: true, HasTo: true}
				if v := h.Decide(&g); v.Kind == Pass {
					h.Recipient(&g, now)
					h.Accepted(&g, now)
				} else {
					g.Refused, g.Ended = v.Kind == Refuse, EndedTimeout
					h.Left(&g)
				}
				h.SetLoad(float64(i%10)/10, 0)
				h.LoginFailed(a)
				h.Correspond("sender.test")
				if i%100 == 0 {
					h.Top(5)
					h.Shadow()
					h.Explain(t.Context(), Query{IP: a, Helo: "x"})
					h.Reload(Options{Clock: h.clock})
				}
			}
		})
	}
	wait.Wait()
}
