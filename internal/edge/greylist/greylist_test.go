package greylist

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

func start() time.Time { return time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC) }

// zeros keys the names of test tables, so that runs are alike.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// open is a table that greylists, in a file of its own disk unless fs is given.
func open(t testing.TB, fs *sim.Disk, o Options) *Table {
	t.Helper()
	if fs == nil {
		fs = newDisk(t)
	}
	o.Rand = zeros{}
	if o.Clock == nil {
		o.Clock = sim.NewClock(start())
	}
	tab, err := Open(fs, "/data/greylist", o)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func newDisk(t testing.TB) *sim.Disk {
	t.Helper()
	d := sim.NewDisk(1)
	if err := d.MkdirAll("/data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return d
}

func addr(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func from(ip, helo, domain, pool string) Sender {
	return Sender{Addr: netip.MustParseAddr(ip), Helo: helo, Domain: message.Domain(domain), Pool: pool}
}

func on() Options { return Options{Enabled: true} }

// Incident greylist-delay: large senders retry from other addresses. Each row
// is a first attempt and one after the wait that must pass, or must not.
func TestIncident_greylistDelay_retryFromAnotherAddress(t *testing.T) {
	one, two := addr(t, "one@demo.test"), addr(t, "two@demo.test")
	first := from("192.0.2.10", "mx1.example.org", "example.org", "")
	tests := map[string]struct {
		first, again Sender
		to           message.Address
		pass         bool
	}{
		"same address":                     {first, first, one, true},
		"other address of the /24":         {first, from("192.0.2.200", "mx1.example.org", "example.org", ""), one, true},
		"and other HELO name of the site":  {first, from("192.0.2.200", "mx7.out.EXAMPLE.org.", "example.org", ""), one, true},
		"other recipient":                  {first, first, two, true},
		"other network":                    {first, from("198.51.100.1", "mx1.example.org", "example.org", ""), one, false},
		"other HELO domain in the network": {first, from("192.0.2.10", "mx1.example.net", "example.org", ""), one, false},
		"other sender domain":              {first, from("192.0.2.10", "mx1.example.org", "example.net", ""), one, false},
		"SPF: anywhere": {
			from("192.0.2.10", "mx1.example.org", "example.org", "spf:example.org"),
			from("2001:db8::1", "other.example.net", "example.org", "spf:Example.org"), one, true,
		},
		"SPF failed at the retry, same network": {
			from("192.0.2.10", "mx1.example.org", "example.org", "spf:example.org"), first, one, true,
		},
		"SPF failed at the first attempt": {
			first, from("192.0.2.11", "mx1.example.org", "example.org", "spf:example.org"), one, true,
		},
		"same /64": {
			from("2001:db8:1:2:3::4", "mx.example.org", "example.org", ""),
			from("2001:db8:1:2:ffff::9", "mx.example.org", "example.org", ""), one, true,
		},
		"other /64": {
			from("2001:db8:1:2::4", "mx.example.org", "example.org", ""),
			from("2001:db8:1:3::4", "mx.example.org", "example.org", ""), one, false,
		},
		"IPv4 in IPv6": {first, from("::ffff:192.0.2.77", "mx1.example.org", "example.org", ""), one, true},
		"address literals differ": {
			from("192.0.2.10", "[192.0.2.10]", "example.org", ""),
			from("192.0.2.11", "192.0.2.11", "example.org", ""), one, true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tab := open(t, nil, on())
			if d := tab.Check(tt.first, one, start()); d.Pass {
				t.Fatalf("first attempt = %+v, want it deferred", d)
			}
			if d := tab.Check(tt.again, tt.to, start().Add(61*time.Second)); d.Pass != tt.pass {
				t.Errorf("attempt after the wait = %+v, want pass %v", d, tt.pass)
			}
		})
	}
}

func TestCheck_waitWindowAndAttempts(t *testing.T) {
	tab, s, to := open(t, nil, on()), from("192.0.2.10", "mx.example.org", "example.org", ""), addr(t, "one@demo.test")
	steps := []struct {
		after    time.Duration
		pass     bool
		attempts int
		waited   time.Duration
	}{
		{0, false, 1, 0},
		{30 * time.Second, false, 2, 0},
		{59 * time.Second, false, 3, 0},
		{60 * time.Second, true, 4, time.Minute},
		// A transaction that broke before the message was accepted.
		{321 * time.Second, true, 5, 321 * time.Second},
	}
	for _, st := range steps {
		d := tab.Check(s, to, start().Add(st.after))
		if d.Pass != st.pass || d.Attempts != st.attempts || d.Waited != st.waited || !d.First.Equal(start()) {
			t.Errorf("after %s: got %+v, want pass %v, attempts %d, waited %s", st.after, d, st.pass, st.attempts, st.waited)
		}
		if !st.pass && !d.Retry.Equal(start().Add(time.Minute)) {
			t.Errorf("after %s: retry = %s, want a minute after the first attempt", st.after, d.Retry)
		}
	}
	late := from("192.0.2.10", "mx.example.org", "example.com", "")
	tab.Check(late, to, start())
	if d := open(t, nil, on()).Check(late, to, start().Add(48*time.Hour)); d.Pass {
		t.Errorf("after the window: %+v, want it to begin anew", d)
	}
}

// Incident greylist-delay: nothing that passes is delayed twice.
func TestIncident_greylistDelay_nothingTwice(t *testing.T) {
	s, to := from("192.0.2.10", "mx.example.org", "example.org", "spf:example.org"), addr(t, "one@demo.test")
	tab := open(t, nil, on())
	tab.Check(s, to, start())
	now := start().Add(5 * time.Minute)
	if d := tab.Check(s, to, now); !d.Pass {
		t.Fatalf("after the wait: %+v", d)
	}
	if tab.Known(s, now) || tab.KnownAddr(s.Addr, now) {
		t.Error("known before a message was accepted")
	}
	// It came back; whatever became of that message, the next one passes.
	if d := tab.Check(from("192.0.2.11", "mx.example.org", "other.example", ""), to, now); !d.Pass || d.Waited != 0 {
		t.Errorf("another sender domain of the pool: %+v, want it to pass without a wait", d)
	}
	tab.Accepted(s, now)
	for name, other := range map[string]Sender{
		"the same":                    s,
		"null sender of the pool":     from("192.0.2.99", "mx2.example.org", "", ""),
		"other network, SPF says yes": from("203.0.113.5", "elsewhere.example", "example.org", "spf:example.org"),
		"other sender domain":         from("192.0.2.10", "mx.example.org", "example.com", ""),
	} {
		if !tab.Known(other, now) {
			t.Errorf("%s: not known", name)
		}
		if d := tab.Check(other, addr(t, "new@demo.test"), now); !d.Pass || d.Waited != 0 {
			t.Errorf("%s: %+v, want it to pass at once", name, d)
		}
	}
	if tab.Known(from("203.0.113.5", "mx.example.org", "example.org", ""), now) {
		t.Error("another network without SPF is known")
	}
	if !tab.KnownAddr(netip.MustParseAddr("192.0.2.250"), now) || tab.KnownAddr(netip.MustParseAddr("192.0.3.1"), now) {
		t.Error("KnownAddr: want the /24 and no other")
	}
}

func TestKnown_forSixtyDaysFromTheLastMessage(t *testing.T) {
	s := from("2001:db8::1", "mx.example.org", "example.org", "")
	tab, day := open(t, nil, on()), 24*time.Hour
	tab.Accepted(s, start())
	tab.Accepted(s, start().Add(50*day))
	for after, want := range map[time.Duration]bool{59 * day: true, 109 * day: true, 110 * day: false} {
		if got := tab.Known(s, start().Add(after)); got != want {
			t.Errorf("known after %s = %v, want %v", after, got, want)
		}
		if got := tab.KnownAddr(s.Addr, start().Add(after)); got != want {
			t.Errorf("address known after %s = %v, want %v", after, got, want)
		}
	}
	if tab.KnownAddr(netip.Addr{}, start()) {
		t.Error("no address is known")
	}
}

// Incident greylist-header: the header says how long a mail had waited,
// whatever held it.
func TestIncident_greylistHeader(t *testing.T) {
	s, one, two := from("192.0.2.10", "mx.example.org", "example.org", ""), addr(t, "one@demo.test"), addr(t, "two@demo.test")
	tab := open(t, nil, on())
	header := func(d Decision) string { return tab.Header(d, "mail.demo.test", start()) }
	if got := header(tab.Check(s, one, start())); got != "" {
		t.Errorf("header of a deferral = %q, want none", got)
	}
	tab.Check(s, two, start().Add(10*time.Second))
	now := start().Add(321 * time.Second)
	want := "X-Greylist: delayed 321 seconds by mail.demo.test (first seen 2026-11-22T03:00:00Z, attempts 2)\r\n"
	if got := header(tab.Check(s, one, now)); got != want {
		t.Errorf("header = %q, want %q", got, want)
	}
	tab.Accepted(s, now)
	// The other message waited too, though its sender is known by now.
	want = "X-Greylist: delayed 611 seconds by mail.demo.test (first seen 2026-11-22T03:00:10Z, attempts 2)\r\n"
	if got := header(tab.Check(s, two, start().Add(621*time.Second))); got != want {
		t.Errorf("header of the second message = %q, want %q", got, want)
	}
	tab.Accepted(s, start().Add(621*time.Second))
	if got := header(tab.Check(s, one, start().Add(700*time.Second))); got != "" {
		t.Errorf("header of a message that did not wait = %q, want none", got)
	}
}

// SPF may be asked after the answer: the attempt is then given again with the
// pool. It counts once, and the retry may come from anywhere.
func TestCheck_poolLearntAfterwards(t *testing.T) {
	tab, to := open(t, nil, on()), addr(t, "one@demo.test")
	bare := from("192.0.2.10", "mx.example.org", "example.org", "")
	pooled := from("192.0.2.10", "mx.example.org", "example.org", "spf:example.org")
	tab.Accepted(from("203.0.113.1", "x.example", "example.net", "spf:example.org"), start().Add(-time.Hour))
	tab.Check(bare, to, start())
	tab.Check(pooled, to, start())
	if r := tab.Report(start()); r.Delayed != 1 || r.Returned != 0 || r.Waiting != 1 {
		t.Errorf("after it was noted: %+v, want one that waits", r)
	}
	d := tab.Check(from("198.51.100.1", "other.example.org", "example.org", "spf:example.org"), to, start().Add(5*time.Minute))
	if !d.Pass || d.Attempts != 2 || d.Waited != 5*time.Minute {
		t.Errorf("retry from elsewhere: %+v, want pass, 2 attempts, 5 minutes", d)
	}
}

// One switch turns it off; what was held by then still says so.
func TestCheck_switchedOff(t *testing.T) {
	disk, s, to := newDisk(t), from("192.0.2.10", "mx.example.org", "example.org", ""), addr(t, "one@demo.test")
	tab := open(t, disk, on())
	tab.Check(s, to, start())
	if err := tab.Close(); err != nil {
		t.Fatal(err)
	}
	tab = open(t, disk, Options{})
	if d := tab.Check(s, to, start().Add(10*time.Second)); !d.Pass || d.Waited != 10*time.Second {
		t.Errorf("held before it was switched off: %+v, want pass after 10 s", d)
	}
	stranger := from("198.51.100.1", "x.example", "example.net", "")
	if d := tab.Check(stranger, to, start()); !d.Pass {
		t.Errorf("a stranger: %+v, want pass", d)
	}
	tab.Accepted(stranger, start())
	if r := tab.Report(start()); !tab.Known(stranger, start()) || r.Enabled || r.Delayed != 1 || r.Returned != 1 {
		t.Errorf("report = %+v", r)
	}
}

// At the bound the window shrinks, but never below what a retry takes.
func TestCheck_bound(t *testing.T) {
	o := on()
	o.MaxWaiting = 10
	tab, to := open(t, nil, o), addr(t, "one@demo.test")
	s := func(i int) Sender { return from("192.0.2.10", "mx.example.org", "d"+string(rune('a'+i))+".test", "") }
	for i := range 10 {
		if d := tab.Check(s(i), to, start()); d.Pass {
			t.Fatalf("sender %d passed at once", i)
		}
	}
	if d := tab.Check(s(10), to, start().Add(4*time.Hour-time.Second)); !d.Pass {
		t.Errorf("full of senders that may still come back: %+v, want pass", d)
	}
	later := start().Add(4 * time.Hour)
	if d := tab.Check(s(11), to, later); d.Pass {
		t.Errorf("full of older ones: %+v, want it deferred", d)
	}
	r := tab.Report(later)
	if r.Waiting != 10 || r.Unasked != 1 || r.Lost != 1 || r.Delayed != 11 {
		t.Errorf("report = %+v, want 10 waiting, 1 unasked, 1 lost, 11 delayed", r)
	}
	if d := tab.Check(s(1), to, later); !d.Pass {
		t.Errorf("one that is still remembered: %+v, want pass", d)
	}
}

func TestKnown_bounded(t *testing.T) {
	o := on()
	o.MaxKnown = 640
	tab, now := open(t, nil, o), start()
	at := func(i int) Sender {
		return Sender{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), Helo: "mx.example.org", Domain: "example.org"}
	}
	for i := range 100 {
		tab.Accepted(at(i), now)
	}
	// Those that merely come back never push out those whose mail was accepted.
	for i := 1000; i < 20_000; i++ {
		tab.Check(at(i), message.Address{}, now)
		tab.Check(at(i), message.Address{}, now.Add(time.Minute))
	}
	if n := tab.known.count.Load(); n > 640 {
		t.Errorf("%d known, want at most 640", n)
	}
	missing := 0
	for i := range 100 {
		if !tab.Known(at(i), now) {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of 100 accepted pools were pushed out", missing)
	}
	// Newer accepted ones push out older ones.
	for i := range 20_000 {
		tab.Accepted(at(i), now.Add(time.Hour))
	}
	if n := tab.known.count.Load(); n > 640 {
		t.Errorf("%d known, want at most 640", n)
	}
	if !tab.Known(at(19_999), now.Add(time.Hour)) {
		t.Error("the last one is not known")
	}
}

func TestKnown_memory(t *testing.T) {
	tab := open(t, nil, on())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 45_000 {
		tab.Accepted(Sender{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), Helo: "mx.example.org", Domain: "example.org"}, start())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := tab.known.count.Load()
	if per := float64(after.HeapAlloc-before.HeapAlloc) / 45_000; per > 2*64 {
		t.Errorf("%.1f octets a pool with its network, want at most 128", per)
	} else {
		t.Logf("%.1f octets for a pool, %.1f for its network and it", per/2, per)
	}
	if n != 90_000 {
		t.Errorf("%d known, want pools and networks, 90,000", n)
	}
	runtime.KeepAlive(tab)
}

func TestConcurrent(t *testing.T) {
	disk := newDisk(t)
	tab := open(t, disk, Options{Enabled: true, MaxKnown: 1000, MaxWaiting: 100})
	var g sync.WaitGroup
	for n := range 8 {
		g.Go(func() {
			for i := range 500 {
				now := start().Add(time.Duration(i) * time.Minute)
				s := Sender{Addr: netip.AddrFrom4([4]byte{10, byte(n), byte(i), 1}), Helo: "mx.example.org", Domain: "example.org"}
				if tab.Check(s, message.Address{Local: "one", Domain: "demo.test"}, now).Pass {
					tab.Accepted(s, now)
				}
				tab.Known(s, now)
				tab.KnownAddr(s.Addr, now)
				if i%100 == 0 {
					if err := tab.save(); err != nil {
						t.Error(err)
					}
					tab.Report(now)
				}
			}
		})
	}
	g.Wait()
	tab.dirty.Store(true)
	if err := tab.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, disk, Options{Enabled: true, MaxKnown: 1000, MaxWaiting: 100})
	if got, want := again.encode(), tab.encode(); !bytes.Equal(got, want) {
		t.Errorf("read back: %d octets that differ from the %d written", len(got), len(want))
	}
}

func TestOpen_options(t *testing.T) {
	for name, o := range map[string]Options{
		"negative":            {Wait: -1},
		"wait beyond window":  {Wait: time.Hour, Window: time.Minute},
		"more than fits":      {MaxKnown: 1 << 30},
		"no randomness to be": {Rand: strings.NewReader("")},
	} {
		if _, err := Open(newDisk(t), "/data/greylist", o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// logged returns a logger and what it wrote.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(io.Writer(&b), nil)), &b
}
