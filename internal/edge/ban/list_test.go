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

// ban bans an address as the policy does, with its /64.
func ban(l *List, a netip.Addr, why string) {
	with, ok := home(a)
	if !ok {
		with = single(a.Unmap())
	}
	l.Ban(a, with, why)
}

func TestBan_userSpace(t *testing.T) {
	l, clock := userSpace(t, Options{Timeout: 10 * time.Minute})
	bad := ip("192.0.2.1")
	if l.Banned(bad) {
		t.Error("banned before the ban")
	}
	ban(l, netip.MustParseAddr("::ffff:192.0.2.1"), "refused twice")
	for range 3 {
		clock.Advance(9 * time.Minute)
		if !l.Banned(bad) {
			t.Fatal("not banned although it knocked within its time")
		}
	}
	if l.Banned(ip("192.0.2.2")) {
		t.Error("a neighbour is banned")
	}
	e, why, ok := l.Why(single(bad))
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
		ban(l, ip(a), "test")
		if l.Banned(ip(a)) {
			t.Errorf("%s is banned", a)
		}
		if _, why, ok := l.Why(single(ip(a).Unmap())); ok || !strings.Contains(why, "banned") {
			t.Errorf("why %s: got %q, %v", a, why, ok)
		}
	}
	clock.Advance(exemptDay)
	ban(l, ip("198.51.100.7"), "test")
	if !l.Banned(ip("198.51.100.7")) {
		t.Error("exempt more than a day after the login")
	}
	l.Authenticated(ip("198.51.100.7"))
	if l.Banned(ip("198.51.100.7")) {
		t.Error("banned after the login")
	}
	ban(l, netip.Addr{}, "no address")
	ban(l, ip("203.0.113.1"), "test")
	l.Reload([]netip.Prefix{net4("203.0.113.0/24")})
	if l.Banned(ip("203.0.113.1")) {
		t.Error("banned after a reload that exempts it")
	}
	ban(l, ip("192.0.2.9"), "test")
	if !l.Banned(ip("192.0.2.9")) {
		t.Error("exempt after a reload that does not exempt it any more")
	}
}

// TestBan_home: who has a /64 does not get around a ban by the next address of
// it, and its knocking prolongs the ban.
func TestBan_home(t *testing.T) {
	l, clock := userSpace(t, Options{Timeout: 10 * time.Minute})
	ban(l, ip("2001:db8:0:1::5"), "refused twice")
	for i, a := range []string{"2001:db8:0:1::5", "2001:db8:0:1::6", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::"} {
		clock.Advance(9 * time.Minute)
		if e, why, ok := l.Why(single(ip(a))); !ok || why != "refused twice" || e.Prefix != net4("2001:db8:0:1::/64") || e.Count != i+1 {
			t.Errorf("why %s: got %+v, %q, %v", a, e, why, ok)
		}
		if !l.Banned(ip(a)) {
			t.Errorf("%s is not banned", a)
		}
	}
	for _, a := range []string{"2001:db8::5", "2001:db8:0:2::5"} {
		if l.Banned(ip(a)) {
			t.Errorf("%s of another /64 is banned", a)
		}
	}
	ban(l, ip("2001:db8:0:1::77"), "once more")
	if got := l.Entries(); len(got) != 1 || got[0].Why != "once more" {
		t.Errorf("got %+v, want one ban", got)
	}
}

// TestBan_homeOfExempt: nothing that is exempt is banned with its /64, whether
// it became so before the ban or after it.
func TestBan_homeOfExempt(t *testing.T) {
	const bad, good = "2001:db8:0:1::5", "2001:db8:0:1::6"
	alone := []netip.Prefix{net4(bad + "/128")}
	never := []netip.Prefix{net4(good + "/127")}
	for _, c := range []struct {
		name string
		do   func(*List)
		want []netip.Prefix
	}{
		{"allowed before", func(l *List) { l.Reload(never); ban(l, ip(bad), "test") }, alone},
		{"allowed after", func(l *List) { ban(l, ip(bad), "test"); l.Reload(never) }, nil},
		{"a wider network allowed", func(l *List) { l.Reload([]netip.Prefix{net4("2001:db8::/32")}); ban(l, ip(bad), "test") }, nil},
		{"another network allowed", func(l *List) { l.Reload([]netip.Prefix{net4("2001:db8:0:2::/64")}); ban(l, ip(bad), "test") }, []netip.Prefix{net4("2001:db8:0:1::/64")}},
		{"logged in before", func(l *List) { l.Authenticated(ip(good)); ban(l, ip(bad), "test") }, alone},
		{"logged in after", func(l *List) { ban(l, ip(bad), "test"); l.Authenticated(ip(good)) }, nil},
		{"known good after", func(l *List) { ban(l, ip(bad), "test"); l.Ban(ip(bad), alone[0], "test") }, alone},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := userSpace(t, Options{})
			c.do(l)
			var got []netip.Prefix
			for _, e := range l.Entries() {
				got = append(got, e.Prefix)
			}
			hit := len(c.want) == 1 && c.want[0].Contains(ip(good))
			if !slices.Equal(got, c.want) || l.Banned(ip(good)) != hit {
				t.Errorf("got bans of %v, %s banned %v; want bans of %v", got, good, !hit, c.want)
			}
		})
	}
	l, clock := userSpace(t, Options{})
	l.Authenticated(ip(good))
	clock.Advance(exemptDay)
	ban(l, ip(bad), "test")
	if !l.Banned(ip(good)) {
		t.Error("the login spares the /64 for more than a day")
	}
}

// TestExempt_bounded: what makes room among the logins spares its /64 no more.
func TestExempt_bounded(t *testing.T) {
	l, clock := userSpace(t, Options{})
	l.m.exempt.max = 3
	for i := range 4 {
		clock.Advance(time.Second)
		l.Authenticated(ip(fmt.Sprintf("2001:db8:0:%d::1", i)))
		l.Authenticated(ip(fmt.Sprintf("2001:db8:0:%d::1", i)))
	}
	for i := range 4 {
		ban(l, ip(fmt.Sprintf("2001:db8:0:%d::2", i)), "test")
		if got, want := l.Banned(ip(fmt.Sprintf("2001:db8:0:%d::3", i))), i == 0; got != want {
			t.Errorf("the /64 of login %d: banned %v, want %v", i, got, want)
		}
	}
	if n := len(l.m.homes); n != 3 {
		t.Errorf("got %d /64s that are spared, want 3", n)
	}
}

// TestExempt_boundedInNetwork: the kernel is told, too, that an address within a
// network that is banned by hand is exempt no more.
func TestExempt_boundedInNetwork(t *testing.T) {
	l, clock := userSpace(t, Options{})
	l.m.link, l.m.exempt.max = linkUp, 1
	if err := l.Add(net4("192.0.2.0/24"), "test", time.Hour); err != nil {
		t.Fatal(err)
	}
	l.Authenticated(ip("192.0.2.1"))
	if b := l.m.take(clock.Now()); len(b.nets) != 8 {
		t.Fatalf("with a hole: %v", b.nets)
	}
	l.Authenticated(ip("198.51.100.1"))
	if b := l.m.take(clock.Now()); !l.Banned(ip("192.0.2.1")) || len(b.nets) != 1 {
		t.Errorf("banned here, and the kernel has been told %v", b.nets)
	}
}

func TestRemove_saysWhat(t *testing.T) {
	for _, c := range []struct {
		remove string
		want   []string
	}{
		{"2001:db8:0:1::9/128", []string{"2001:db8:0:1::/64", "2001:db8::/32"}},
		{"2001:db8:0:1::5/128", []string{"2001:db8:0:1::5/128", "2001:db8:0:1::/64", "2001:db8::/32"}},
		{"2001:db8:0:1::/64", []string{"2001:db8:0:1::/64"}},
		{"2001:db8:0:1::/80", nil},
		{"2001:db8::/32", []string{"2001:db8::/32"}},
		{"2001:db8::/31", nil},
		{"192.0.2.1/32", []string{"192.0.2.1/32"}},
		{"::ffff:192.0.2.1/128", []string{"192.0.2.1/32"}},
		{"192.0.2.0/24", nil},
	} {
		l, _ := userSpace(t, Options{})
		l.Ban(ip("2001:db8:0:1::5"), single(ip("2001:db8:0:1::5")), "test")
		ban(l, ip("2001:db8:0:1::6"), "test")
		ban(l, ip("192.0.2.1"), "test")
		if err := l.Add(net4("2001:db8::/32"), "by hand", time.Hour); err != nil {
			t.Fatal(err)
		}
		ended, err := l.Remove(net4(c.remove))
		var got []string
		for _, p := range ended {
			got = append(got, p.String())
		}
		if !slices.Equal(got, c.want) || err != nil {
			t.Errorf("remove %s: got %v, %v, want %v", c.remove, got, err, c.want)
		}
		if p := net4(c.remove); p.IsSingleIP() && l.Banned(p.Addr()) {
			t.Errorf("%s is banned after its removal", p)
		}
	}
}

func TestWhy_networks(t *testing.T) {
	l, _ := userSpace(t, Options{Never: []netip.Prefix{net4("198.51.100.0/24")}})
	ban(l, ip("2001:db8:0:1::5"), "automatic")
	ban(l, ip("192.0.2.1"), "automatic")
	if err := l.Add(net4("2001:db8:1::/48"), "by hand", time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of, why string
		banned  bool
	}{
		{"2001:db8:0:1::/64", "automatic", true},
		{"2001:db8:0:1::/80", "automatic", true},
		{"2001:db8:1:7::/64", "by hand", true},
		{"2001:db8::/32", "not as a whole; bans of parts of it: 2", false},
		{"2001:db8:2::/48", "not banned", false},
		{"192.0.2.0/24", "not as a whole; bans of parts of it: 1", false},
		{"198.51.100.7/32", "never banned: the configuration exempts 198.51.100.0/24", false},
	} {
		if _, why, banned := l.Why(net4(c.of)); why != c.why || banned != c.banned {
			t.Errorf("why %s: got %q, %v, want %q, %v", c.of, why, banned, c.why, c.banned)
		}
	}
	if _, why, ok := l.Why(netip.Prefix{}); ok || why == "" {
		t.Errorf("why nothing: got %q, %v", why, ok)
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
	if ended, err := l.Remove(net4("203.0.113.0/25")); len(ended) != 0 || err != nil {
		t.Errorf("remove a part: got %v, %v, want nothing", ended, err)
	}
	if ended, err := l.Remove(net4("203.0.113.0/24")); len(ended) != 1 || err != nil {
		t.Errorf("remove: got %v, %v, want the network", ended, err)
	}
	if l.Banned(ip("203.0.113.6")) {
		t.Error("banned after it was removed")
	}
}

func TestBan_bounded(t *testing.T) {
	l, clock := userSpace(t, Options{Max: 100})
	for i := range 1000 {
		clock.Advance(time.Millisecond)
		ban(l, ip(fmt.Sprintf("10.0.%d.%d", i/250, i%250)), "test")
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
	if e, _, _ := l.Why(net4("10.0.0.1/32")); len(e.Why) > whyOctetsMax || !strings.HasSuffix(e.Why, "é") {
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
			ban(l, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "test")
		}
		time.Sleep(gather + time.Millisecond)
		synctest.Wait()
		if got, want := f.told(), []int{batchMax, batchMax, 200}; !slices.Equal(got, want) {
			t.Errorf("got batches of %d, want of %d", got, want)
		}
		f.failing(true)
		ban(l, ip("192.0.2.1"), "test")
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
		ban(l, ip("192.0.2.2"), "after the end") // must not block
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
		ban(l, ip("192.0.2.1"), "test")
		go func() { done <- l.Run(ctx) }()
		if err := <-done; err != nil || !f.holds(ip("192.0.2.1")) {
			t.Errorf("the end: error %v, in the kernel %v, want it there", err, f.holds(ip("192.0.2.1")))
		}
	})
}

func BenchmarkBanned(b *testing.B) {
	l, _ := userSpace(b, Options{})
	for i := range 100_000 {
		ban(l, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "test")
	}
	a := ip("192.0.2.1")
	for b.Loop() {
		l.Banned(a)
	}
}
