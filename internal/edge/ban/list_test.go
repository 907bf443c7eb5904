package ban

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }
func net4(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestBan_userSpace(t *testing.T) {
	l, clock := userSpace(t, Options{Timeout: 10 * time.Minute})
	bad := ip("192.0.2.1")
	if l.Banned(bad) {
		t.Error("banned before the ban")
	}
	l.Ban(netip.MustParseAddr("::ffff:192.0.2.1"), "refused twice")
	for range 3 {
		clock.Advance(9 * time.Minute)
		if !l.Banned(bad) {
			t.Fatal("not banned although it knocked within its time")
		}
	}
	if l.Banned(ip("192.0.2.2")) {
		t.Error("a neighbour is banned")
	}
	e, why, ok := l.Why(bad)
	if !ok || why != "refused twice" || e.Count != 4 || e.Prefix.String() != "192.0.2.1/32" || e.Kernel {
		t.Errorf("why: got %+v, %q, %v", e, why, ok)
	}
	clock.Advance(10 * time.Minute)
	if l.Banned(bad) {
		t.Error("banned although it was silent for its time")
	}
	if up, why := l.State(); up || why == "" {
		t.Errorf("state: got %v, %q, want down and a reason", up, why)
	}
}

func TestBan_never(t *testing.T) {
	l, clock := userSpace(t, Options{Never: []netip.Prefix{net4("192.0.2.0/24"), net4("2001:db8::/32")}})
	l.Authenticated(ip("198.51.100.7"))
	for _, a := range []string{"192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9", "2001:db8::9%eth0", "198.51.100.7"} {
		l.Ban(ip(a), "test")
		if l.Banned(ip(a)) {
			t.Errorf("%s is banned", a)
		}
		if _, why, ok := l.Why(ip(a)); ok || !strings.Contains(why, "banned") {
			t.Errorf("why %s: got %q, %v", a, why, ok)
		}
	}
	clock.Advance(exemptDay)
	l.Ban(ip("198.51.100.7"), "test")
	if !l.Banned(ip("198.51.100.7")) {
		t.Error("exempt more than a day after the login")
	}
	l.Authenticated(ip("198.51.100.7"))
	if l.Banned(ip("198.51.100.7")) {
		t.Error("banned after the login")
	}
	l.Ban(netip.Addr{}, "no address")
	l.Ban(ip("203.0.113.1"), "test")
	l.Reload([]netip.Prefix{net4("203.0.113.0/24")})
	if l.Banned(ip("203.0.113.1")) {
		t.Error("banned after a reload that exempts it")
	}
	l.Ban(ip("192.0.2.9"), "test")
	if !l.Banned(ip("192.0.2.9")) {
		t.Error("exempt after a reload that does not exempt it any more")
	}
}

func TestAdd_refuses(t *testing.T) {
	l, _ := userSpace(t, Options{Never: []netip.Prefix{net4("192.0.2.16/28")}})
	l.Authenticated(ip("198.51.100.7"))
	for _, c := range []struct{ prefix, want string }{
		{"192.0.2.0/24", "the configuration exempts 192.0.2.16/28"},
		{"192.0.2.17/32", "the configuration exempts 192.0.2.16/28"},
		{"198.51.0.0/16", "198.51.100.7 logged in"},
		{"0.0.0.0/0", "everybody"},
		{"::/0", "everybody"},
	} {
		err := l.Add(net4(c.prefix), "test", time.Hour)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("add %s: got error %v, want one with %q", c.prefix, err, c.want)
		}
	}
	if err := l.Add(netip.Prefix{}, "test", 0); err == nil {
		t.Error("add nothing: got no error")
	}
	if err := l.Add(net4("203.0.113.0/24"), "test", 1000*24*time.Hour); err == nil {
		t.Error("add for three years: got no error")
	}
	if n := len(l.Entries()); n != 0 {
		t.Errorf("got %d entries, want none", n)
	}
}

func TestAdd_lastsItsTime(t *testing.T) {
	l, clock := userSpace(t, Options{Timeout: time.Minute})
	if err := l.Add(net4("203.0.113.77/24"), "an operator's", time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 59 {
		clock.Advance(time.Minute)
		if !l.Banned(ip("203.0.113.200")) {
			t.Fatal("not banned within its time")
		}
	}
	clock.Advance(time.Minute)
	if l.Banned(ip("203.0.113.200")) {
		t.Error("banned after its time: knocking prolonged it")
	}
	if err := l.Add(net4("203.0.113.0/24"), "again", time.Hour); err != nil {
		t.Fatal(err)
	}
	l.Authenticated(ip("203.0.113.5"))
	if l.Banned(ip("203.0.113.5")) || !l.Banned(ip("203.0.113.6")) {
		t.Error("who logged in is banned with the network, or the network is not")
	}
	if ok, err := l.Remove(net4("203.0.113.0/25")); ok || err != nil {
		t.Errorf("remove a part: got %v, %v, want false", ok, err)
	}
	if ok, err := l.Remove(net4("203.0.113.0/24")); !ok || err != nil {
		t.Errorf("remove: got %v, %v, want true", ok, err)
	}
	if l.Banned(ip("203.0.113.6")) {
		t.Error("banned after it was removed")
	}
}

func TestBan_bounded(t *testing.T) {
	l, clock := userSpace(t, Options{Max: 100})
	for i := range 1000 {
		clock.Advance(time.Millisecond)
		l.Ban(ip(fmt.Sprintf("10.0.%d.%d", i/250, i%250)), "test")
		l.Banned(ip("10.0.0.0")) // knocks on, and so is never the oldest
	}
	if n := len(l.Entries()); n != 100 {
		t.Errorf("got %d entries, want 100", n)
	}
	for a, want := range map[string]bool{"10.0.0.0": true, "10.0.3.249": true, "10.0.3.151": true, "10.0.3.150": false, "10.0.0.1": false} {
		if got := l.Banned(ip(a)); got != want {
			t.Errorf("banned %s: got %v, want %v", a, got, want)
		}
	}
}

func TestAdd_bounded(t *testing.T) {
	l, _ := userSpace(t, Options{})
	for i := range fixedMax {
		if err := l.Add(net4(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)), strings.Repeat("é", 200), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(net4("192.0.2.0/24"), "one more", 0); err != errFull {
		t.Errorf("got error %v, want %v", err, errFull)
	}
	if e, _, _ := l.Why(ip("10.0.0.1")); len(e.Why) > whyOctetsMax || !strings.HasSuffix(e.Why, "é") {
		t.Errorf("got a reason of %d octets: %q", len(e.Why), e.Why)
	}
}

func TestRun_batchesAndRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := sys.RealClock() // of the bubble
		f := newFake(clock, time.Minute)
		l := withKernel(Options{Timeout: time.Minute, Clock: clock, RemoveAtExit: true}, f).List
		if err := l.connect(t.Context(), whyBefore); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		f.told()
		for i := range 1200 {
			l.Ban(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "test")
		}
		time.Sleep(gather + time.Millisecond)
		synctest.Wait()
		if got, want := f.told(), []int{batchMax, batchMax, 200}; !slices.Equal(got, want) {
			t.Errorf("got batches of %d, want of %d", got, want)
		}
		f.failing(true)
		l.Ban(ip("192.0.2.1"), "test")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if up, why := l.State(); up || !strings.Contains(why, errFake.Error()) {
			t.Errorf("state while the kernel fails: got %v, %q", up, why)
		}
		if !l.Banned(ip("192.0.2.1")) {
			t.Error("not banned while the kernel fails")
		}
		f.failing(false)
		time.Sleep(retryMax)
		synctest.Wait()
		if !f.holds(ip("192.0.2.1")) {
			t.Error("not in the kernel although it is well again")
		}
		cancel()
		if err := <-done; err != nil || f.there || !f.closed {
			t.Errorf("the end: error %v, table %v, closed %v", err, f.there, f.closed)
		}
		l.Ban(ip("192.0.2.2"), "after the end") // must not block
		if !l.Banned(ip("192.0.2.2")) {
			t.Error("not banned after the end of Run")
		}
	})
}

// TestRun_endsWhileTelling: what was asked for is said to the kernel although
// Run's context ends in the middle of it.
func TestRun_endsWhileTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := sys.RealClock()
		f := newFake(clock, time.Minute)
		l := withKernel(Options{Timeout: time.Minute, Clock: clock}, f).List
		if err := l.connect(t.Context(), whyBefore); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.during = func(c context.Context) error { cancel(); return c.Err() }
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		l.Ban(ip("192.0.2.1"), "test")
		if err := <-done; err != nil || !f.holds(ip("192.0.2.1")) {
			t.Errorf("the end: error %v, in the kernel %v, want it there", err, f.holds(ip("192.0.2.1")))
		}
	})
}

func BenchmarkBanned(b *testing.B) {
	l, _ := userSpace(b, Options{})
	for i := range 100_000 {
		l.Ban(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "test")
	}
	a := ip("192.0.2.1")
	for b.Loop() {
		l.Banned(a)
	}
}
