package dnsbl

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

func TestRun_findsIllnessAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{"bl.example": {all: []string{"127.0.0.2"}, delay: time.Millisecond}, "empty.example": {}}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3}, List{Zone: "empty.example", Weight: 1})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.c.Run(ctx) }()
		time.Sleep(time.Second)
		b.state(0, Poisoned)
		b.state(1, OK)
		if why := b.c.Health()[1].Why; why == "" {
			t.Error("a list without a test entry: got no word of it")
		}
		b.f.change("bl.example", func(z *fakeZone) { *z = *zoneOf("127.0.0.2", "192.0.2.1") })
		time.Sleep(2 * retestMin)
		b.state(0, OK)
		b.want("192.0.2.1", 3, 1, 0)
		b.f.change("bl.example", func(z *fakeZone) { z.silent = true })
		time.Sleep(time.Hour) // nobody asks: a test now and then
		if n := b.f.count("127.0.0.1", "bl.example"); n > 50 {
			t.Errorf("got %d tests in an hour, want few", n)
		}
		b.state(0, Silent)
		b.f.change("bl.example", func(z *fakeZone) { z.silent = false })
		time.Sleep(retestMax + time.Minute)
		b.state(0, OK)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(b.l.String(), "no test entry"); n != 1 {
			t.Errorf("got %d lines of a missing entry, want 1:\n%s", n, b.l)
		}
	})
}

// TestRun_gapGrows shows that a list that falls ill again and again is tested
// less and less.
func TestRun_gapGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2", "192.0.2.1")}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3})
		z := b.c.zones[0]
		var gaps []time.Duration
		for range 7 {
			var t todo
			b.c.setState(z, Poisoned, "x", time.Now(), &t)
			gaps = append(gaps, z.gap)
			time.Sleep(time.Second)
			b.c.setState(z, OK, "", time.Now(), &t)
			time.Sleep(time.Second)
		}
		want := []time.Duration{retestMin, 2 * retestMin, 4 * retestMin, 8 * retestMin, 16 * retestMin, retestMax, retestMax}
		if d := cmp.Diff(want, gaps); d != "" {
			t.Errorf("got (+), want (-):\n%s", d)
		}
	})
}

func TestReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := zoneOf("127.0.0.2", "192.0.2.1", "192.0.2.2")
		text.text = "Listed\r\n, see https://bl.example/q?ip=192.0.2.1"
		zones := map[string]*fakeZone{"txt.example": text, "url.example": zoneOf("127.0.0.2", "192.0.2.2"), "wl.example": zoneOf("127.0.0.2", "192.0.2.1")}
		b := setUp(t, Options{}, zones,
			List{Zone: "txt.example", Weight: 2}, List{Zone: "url.example", Weight: 5, URL: "https://url.example/{ip}", Text: "{ip} sends spam"},
			List{Zone: "wl.example", Weight: -9})
		ask := func(a string) [3]string {
			zone, text, url := b.c.Reason(b.check(a), netip.MustParseAddr(a))
			return [3]string{zone, text, url}
		}
		b.check("192.0.2.1")
		time.Sleep(time.Second)
		steps := []struct {
			addr string
			want [3]string
		}{
			{"192.0.2.1", [3]string{"txt.example", "Listed??, see https://bl.example/q?ip=192.0.2.1", "https://bl.example/q?ip=192.0.2.1"}},
			{"192.0.2.2", [3]string{"url.example", "192.0.2.2 sends spam", "https://url.example/192.0.2.2"}},
			{"192.0.2.3", [3]string{}},
		}
		for _, s := range steps {
			if got := ask(s.addr); got != s.want {
				t.Errorf("%s: got %q, want %q", s.addr, got, s.want)
			}
		}
		// A text that is gone is asked for again.
		b.c.mu.Lock()
		b.c.texts = texts{}
		b.c.mu.Unlock()
		if got := ask("192.0.2.1"); got[0] != "txt.example" || got[1] != "" {
			t.Errorf("got %q, want no text yet", got)
		}
		time.Sleep(time.Second)
		if got := ask("192.0.2.1"); got[1] == "" {
			t.Errorf("got %q, want the text", got)
		}
	})
}

func TestReason_bounded(t *testing.T) {
	var s texts
	until := time.Unix(1e9, 0)
	for i := range 3 * textsMax {
		s.put(textKey{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 0}, text{"x", until})
	}
	if len(s.known) != textsMax || len(s.order) != textsMax {
		t.Errorf("got %d and %d texts, want %d", len(s.known), len(s.order), textsMax)
	}
	if got := harmless([]string{strings.Repeat("\x00\xff", 400)}); got != strings.Repeat("?", textOctetsMax) {
		t.Errorf("got %q, want %d question marks", got, textOctetsMax)
	}
}

func TestFindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{
			"bl.example": zoneOf("127.0.0.2", "192.0.2.1"), "dead.example": {silent: true}, "parked.example": {all: []string{"203.0.113.9"}},
			"odd.example": zoneOf("127.0.0.1", "192.0.2.1"),
		}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3}, List{Zone: "dead.example", Weight: 1},
			List{Zone: "parked.example", Weight: 1}, List{Zone: "odd.example", Weight: 1})
		want := []Finding{
			{Zone: "bl.example", Question: "1.2.0.192.bl.example", Answer: "127.0.0.2", Listed: true, Weight: 3},
			{Zone: "dead.example", Question: "1.2.0.192.dead.example", Answer: dns.ErrTimeout.Error(), Ignored: dns.ErrTimeout.Error(), Weight: 1},
			{Zone: "parked.example", Question: "1.2.0.192.parked.example", Answer: "203.0.113.9", Ignored: "answers 203.0.113.9, which is outside 127.0.0.0/8", Weight: 1},
			{Zone: "odd.example", Question: "1.2.0.192.odd.example", Answer: "127.0.0.1", Ignored: "such an answer does not count", Weight: 1},
		}
		took := cmpopts.IgnoreFields(Finding{}, "Took")
		got := b.c.Findings(t.Context(), netip.MustParseAddr("192.0.2.1"))
		if d := cmp.Diff(want, got, took); d != "" {
			t.Errorf("got (+), want (-):\n%s", d)
		}
		b.check("192.0.2.1")
		want[0].Cached, want[3].Cached = true, true
		want[2].Ignored = "the list is poisoned: " + want[2].Ignored
		got = b.c.Findings(t.Context(), netip.MustParseAddr("192.0.2.1"))
		if d := cmp.Diff(want, got, took); d != "" {
			t.Errorf("after a check: got (+), want (-):\n%s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := b.c.Findings(ctx, netip.MustParseAddr("192.0.2.1")); len(got) != 4 {
			t.Errorf("with a dead context: got %d findings, want 4", len(got))
		}
		time.Sleep(time.Minute)
	})
}
