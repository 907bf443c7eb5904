package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func TestParseHop(t *testing.T) {
	for in, want := range map[string]string{
		"smtp://Relay.Example.org:587": "smtp://relay.example.org:587",
		"smtp://relay.example.org":     "smtp://relay.example.org:25",
		"smtps://relay.example.org/":   "smtps://relay.example.org:465",
		"LMTP://127.0.0.1":             "lmtp://127.0.0.1:24",
		"127.0.0.1:2525":               "smtp://127.0.0.1:2525",
		"smtp://[2001:db8::1]:26":      "smtp://[2001:db8::1]:26",
		"smtp://[2001:db8::1]":         "smtp://[2001:db8::1]:25",
		"b\u00fccher.example:25":       "smtp://xn--bcher-kva.example:25",
		"lmtp:///run/dovecot/lmtp":     "lmtp:///run/dovecot/lmtp",
		"lmtp:///":                     "", "lmtp:///run/": "", "lmtp:///run/../lmtp": "", "lmtp:///a b": "", "lmtp:///\u00fc": "",
		"lmtp:///" + strings.Repeat("x", 106): "lmtp:///" + strings.Repeat("x", 106), "lmtp:///" + strings.Repeat("x", 107): "",
		"smtp:///run/dovecot/lmtp": "", "smtps:///run/lmtp": "", "/run/dovecot/lmtp": "",
		"": "", "relay": "", "http://relay.example.org": "", "smtp://": "", "relay:0": "", "relay:99999": "",
		"smtp://user@relay.example.org": "", "smtp://a b:25": "", "smtp://[fe80::1%eth0]:25": "", strings.Repeat("x", 400) + ":25": "",
	} {
		h, err := ParseHop(in)
		switch {
		case want == "" && !errors.Is(err, ErrHop):
			t.Errorf("%q: %v, %v", in, h, err)
		case want != "" && (err != nil || h.String() != want):
			t.Errorf("%q: %v, %v", in, h, err)
		}
	}
}

func FuzzParseHop(f *testing.F) {
	for _, s := range []string{"smtp://relay.example.org:587", "lmtp://[::1]", "lmtp:///run/lmtp", "127.0.0.1:25", "smtps://x/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHop(s)
		if err != nil {
			return
		}
		again, err := ParseHop(h.String())
		if err != nil || again.String() != h.String() || again.Host != h.Host || again.Socket != h.Socket || again.Scheme != h.Scheme {
			t.Errorf("%q is %q, which is %v, %v", s, h.String(), again, err)
		}
	})
}

func TestRoutes_theNearest(t *testing.T) {
	hop := func(host string) Hop { return Hop{Host: host, Port: 25} }
	d := New(Options{
		Routes: []Route{
			{Domains: []string{"Example.org", "demo.test"}, Hop: hop("exact")},
			{Domains: []string{".example.org"}, Hop: hop("below")},
			{Domains: []string{".deep.example.org"}, Hop: hop("deep")},
		},
	}, nil, nil, nil)
	for domain, want := range map[message.Domain]string{
		"example.org": "exact", "demo.test": "exact", "a.example.org": "below", "a.b.example.org": "below",
		"deep.example.org": "below", "x.deep.example.org": "deep", "example.net": "", "notexample.org": "", "org": "",
	} {
		got, ok := d.Hop(domain)
		if ok != (want != "") || ok && got != "smtp://"+want+":25" {
			t.Errorf("%s: %q, %v", domain, got, ok)
		}
	}
}

func TestHop_lmtp(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		w := newWorld()
		h := w.server("inner.example", "127.0.0.1", 24)
		h.lmtp = true
		h.say["RCPT TO:<no@"] = "550 5.1.1 unknown"
		h.say["."] = "250 2.0.0 one has it|452 4.2.2 two is full|554 5.6.0 three does not like it|250 ok"
		b := newBench(t, w, Options{
			NoChunking: !chunking,
			Routes:     []Route{{Domains: []string{"example.org"}, Hop: Hop{Scheme: LMTP, Host: "127.0.0.1"}}},
		})
		r := b.carry(messageTo("one@example.org", "no@example.org", "two@example.org", "three@example.org"))
		b.wantAt(r, 0, fate.Delivered, "250 2.0.0 one has it", "127.0.0.1 [127.0.0.1]:24")
		b.wantAt(r, 1, fate.Bounced, "550 5.1.1 unknown")
		b.wantAt(r, 2, fate.Deferred, "452 4.2.2 two is full")
		b.wantAt(r, 3, fate.Bounced, "554 5.6.0 three does not like it")
		r = b.carry(messageTo("no@example.org"))
		b.wantAt(r, 0, fate.Bounced, "550 5.1.1 unknown")
		if !strings.Contains(h.said(), "LHLO breakwater.example") || len(h.got()) != 1 {
			t.Errorf("%q", h.said())
		}
		r = b.carry(messageTo("one@example.org"))
		b.wantAt(r, 0, fate.Delivered)
	}
}

func TestHop_lmtpLostInBetween(t *testing.T) {
	w := newWorld()
	h := w.server("inner.example", "127.0.0.1", 24)
	h.lmtp = true
	h.say["."] = "250 ok|drop"
	b := newBench(t, w, Options{Default: &Hop{Scheme: LMTP, Host: "127.0.0.1"}})
	r := b.carry(messageTo("one@example.org", "two@example.org", "three@example.org"))
	b.wantAt(r, 0, fate.Delivered)
	b.wantAt(r, 1, fate.Deferred, "twice")
	b.wantAt(r, 2, fate.Deferred, "twice")
}

// TestHop_notTheMessagesFault: a next hop that does not let us send has to be
// set right, and no mail bounces for it.
func TestHop_notTheMessagesFault(t *testing.T) {
	for say, words := range map[string]string{
		"banner=554 not you":  "does not want to talk to us",
		"MAIL=530 log in":     "one of the two is not set up right",
		"RCPT=503 what":       "one of the two is not set up right",
		"RCPT=550 5.1.1 none": "",
	} {
		w := newWorld()
		key, answer, _ := strings.Cut(say, "=")
		w.server("relay.example", "10.0.0.1", 25).say[key] = answer
		b := newBench(t, w, Options{Default: &Hop{Host: "relay.example"}})
		state := fate.Deferred
		if words == "" {
			state = fate.Bounced
		}
		b.wantAt(b.carry(messageTo("one@example.org")), 0, state, words)
	}
	b := newBench(t, newWorld(), Options{Default: &Hop{Host: "relay.example"}})
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.4.4")
}

func TestHop_override(t *testing.T) {
	w := newWorld()
	w.host("example.org", "mx.example.org", "192.0.2.1")
	other := w.server("other.example", "10.0.0.2", 2525)
	b := newBench(t, w, Options{})
	m := messageTo("one@example.org", "two@example.org", "three@example.org")
	m.Recipients[0].Route, m.Recipients[2].Route = "smtp://other.example:2525", "nonsense"
	r := b.carry(m)
	b.wantAt(r, 0, fate.Relayed, "other.example [10.0.0.2]:2525")
	b.wantAt(r, 1, fate.Relayed, "mx.example.org")
	b.wantAt(r, 2, fate.Deferred, "4.3.5")
	if len(other.got()) != 1 {
		t.Errorf("%d messages", len(other.got()))
	}
}

func TestCarry_literal(t *testing.T) {
	w := newWorld()
	w.server("x", "192.0.2.1", 25)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@[192.0.2.1]")), fate.Relayed, queue.Up, "[192.0.2.1] [192.0.2.1]:25")
	b.want(b.carry(messageTo("one@[127.0.0.1]")), fate.Bounced, queue.Unknown, "5.4.4 The address 127.0.0.1 is private")
}

func TestOptions_forbidden(t *testing.T) {
	o := Options{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "0.0.0.0": true, "10.0.0.1": true, "10.1.2.3": false, "172.31.0.1": true, "172.32.0.1": false,
		"192.168.1.1": true, "169.254.169.254": true, "100.64.0.1": true, "224.0.0.1": true, "255.255.255.255": true,
		"192.0.2.1": true, "198.51.100.1": true, "203.0.113.1": true, "198.18.0.1": true, "8.8.8.8": false,
		"::1": true, "::": true, "fe80::1": true, "fc00::1": true, "fd00::1": false, "ff02::1": true, "2001:db8::1": true,
		"2001:4860::1": false, "::ffff:127.0.0.1": true, "::ffff:8.8.8.8": false, "::ffff:10.1.0.1": false, "::7f00:1": true,
		"64:ff9b::7f00:1": true, "64:ff9b::808:808": false, "64:ff9b::a01:1": false, "64:ff9b:1::1": true,
		"2002:7f00:1::1": true, "2002:808:808::1": true, "2001::1": true, "3fff::1": true, "100::1": true, "fec0::1": true,
		"::ffff:0:7f00:1": true,
	} {
		if got := o.forbidden(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if !o.forbidden(netip.Addr{}) {
		t.Error("no address is allowed")
	}
}

// TestRecent_bounded: whatever number of hosts is gone, so many are remembered,
// and those that are over make room first.
func TestRecent_bounded(t *testing.T) {
	r := recent{keep: time.Minute}
	began := time.Unix(1_000_000, 0)
	for i := range recentMax {
		r.note(fmt.Sprint("over", i), began)
	}
	later := began.Add(time.Minute)
	for i := range recentMax {
		r.note(fmt.Sprint("here", i), later)
	}
	if n := len(r.until); n != recentMax || !r.is("here0", later) || r.is("over1", later) {
		t.Errorf("%d are remembered", n)
	}
	if r.note("more", later); len(r.until) > recentMax || !r.is("more", later) {
		t.Errorf("%d are remembered", len(r.until))
	}
}

func TestPool_idleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		h := w.host("example.org", "mx.example.org", "192.0.2.1")
		b := newBench(t, w, Options{IdleFor: 10 * time.Second})
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
		go func() { _ = b.d.Run(t.Context()) }()
		time.Sleep(25 * time.Second)
		b.d.pool.mu.Lock()
		n := len(b.d.pool.idle)
		b.d.pool.mu.Unlock()
		if n != 0 || !strings.HasSuffix(h.said(), "QUIT") {
			t.Errorf("%d idle, %q", n, h.said())
		}
		b.close()
	})
}

func TestPool_messagesOfAConnection(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	b := newBench(t, w, Options{MaxMessages: 3})
	for range 7 {
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
	}
	if h.sessions != 3 {
		t.Errorf("%d sessions", h.sessions)
	}
	h.offers = append(h.offers, "LIMITS MAILMAX=1")
	b.d.pool.closeIdle()
	b.d.pool.shut = false
	for range 3 {
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
	}
	if h.sessions != 6 {
		t.Errorf("%d sessions with MAILMAX", h.sessions)
	}
}

// TestPool_bounds: no host gets more connections than it should, and those
// that wait are told to come back.
func TestPool_bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		h := w.host("example.org", "mx.example.org", "192.0.2.1")
		h.say["MAIL"] = "hang"
		b := newBench(t, w, Options{MaxPerHost: 2, MaxConns: 3, NoChunking: true})
		var mu sync.Mutex
		var reasons []string
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				r := b.d.Carry(t.Context(), queue.Job{Message: messageTo(fmt.Sprintf("u%d@example.org", i)), Rcpt: []int{0}})
				r.Done()
				mu.Lock()
				defer mu.Unlock()
				reasons = append(reasons, r.Outcomes[0].Reason[:5]+" "+r.Health.String()+" "+r.Outcomes[0].RetryAfter.String())
			})
		}
		wg.Wait()
		slices.Sort(reasons)
		if want := []string{"4.3.2 busy 20s", "4.3.2 busy 20s", "4.4.2 down 0s", "4.4.2 down 0s"}; !slices.Equal(reasons, want) {
			t.Errorf("%q", reasons)
		}
		b.close()
	})
}

// TestPool_neighbours: two next hops on one machine are two servers, and one
// that hangs takes no connection from the other.
func TestPool_neighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.server("hub.example.org", "192.0.2.1", 24).say["MAIL"] = "hang"
		w.hosts[netip.MustParseAddrPort("192.0.2.1:25")] = &host{name: "hub.example.org", say: map[string]string{}}
		b := newBench(t, w, Options{MaxPerHost: 1, NoChunking: true, Routes: []Route{
			{Domains: []string{"slow.example"}, Hop: Hop{Host: "192.0.2.1", Port: 24}},
			{Domains: []string{"quick.example"}, Hop: Hop{Host: "192.0.2.1", Port: 25}},
		}})
		var wg sync.WaitGroup
		wg.Go(func() { b.carry(messageTo("one@slow.example")) })
		synctest.Wait()
		began := time.Now()
		b.want(b.carry(messageTo("one@quick.example")), fate.Relayed, queue.Up)
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("waited %s for a place at another server", waited)
		}
		wg.Wait()
		b.close()
	})
}

// TestPool_crowd: a host that is slow, and has the mail of many domains, keeps
// few attempts waiting: the others are told to come back at once.
func TestPool_crowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 100
		w := newWorld()
		h := w.server("mx.example.org", "192.0.2.1", 25)
		h.say["MAIL"] = "hang"
		b := newBench(t, w, Options{MaxPerHost: 2})
		for i := range many {
			w.mx(fmt.Sprintf("d%d.example", i), "mx.example.org")
		}
		began := time.Now()
		var early atomic.Int32
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				r := b.d.Carry(t.Context(), queue.Job{Message: messageTo(fmt.Sprintf("u@d%d.example", i)), Rcpt: []int{0}})
				r.Done()
				if time.Since(began) < time.Second {
					early.Add(1)
					b.want(r, fate.Deferred, queue.Busy, "4.3.2 All connections")
				}
			})
		}
		wg.Wait()
		if n := early.Load(); n != many-2-waitersMax {
			t.Errorf("%d of %d did not wait", n, many)
		}
		b.close()
	})
}

func TestCut(t *testing.T) {
	for _, c := range [][2]string{{"abc", "abc"}, {"abcdef", "abcd"}, {"ab\x00\r\n", "ab??"}, {"abc\u00fc", "abc"}, {"\xff\xfe", "??"}, {"\u009b1m", "?1m"}, {"\u2028", "?"}} {
		if got := cut(c[0], 4); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

func TestParseRoute(t *testing.T) {
	for in, want := range map[string]string{
		"Example.org lmtp://127.0.0.1":                        "example.org lmtp://127.0.0.1:24 0",
		".b\u00fccher.example smtp://10.0.0.7:25 tls=require": ".xn--bcher-kva.example smtp://10.0.0.7:25 2",
		"example.org smtp://relay.example tls=no":             "example.org smtp://relay.example:25 1",
		"": "", "example.org": "", "example.org relay": "", "example.org smtps://x tls=no": "", ". smtp://x": "", "a.b smtp://x tls=maybe": "", "a.b smtp://x tls=no y": "",
	} {
		r, err := ParseRoute(in)
		switch {
		case want == "" && !errors.Is(err, ErrHop):
			t.Errorf("%q: %v, %v", in, r, err)
		case want != "" && (err != nil || fmt.Sprintf("%s %s %d", r.Domains[0], r.Hop, r.Hop.TLS) != want):
			t.Errorf("%q: %v, %v", in, r, err)
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	f.Add("example.org lmtp://[::1] tls=no")
	f.Add(".x smtp://relay:25")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRoute(s)
		if err != nil {
			return
		}
		again, err := ParseRoute(r.Domains[0] + " " + r.Hop.String())
		if err != nil || again.Domains[0] != r.Domains[0] || again.Hop.String() != r.Hop.String() {
			t.Errorf("%q is %v, which is %v, %v", s, r, again, err)
		}
	})
}

// TestCarry_keepsConnectionsUntilDone: while nobody has said that an outcome is
// durable, no other message goes over its connection.
func TestCarry_keepsConnectionsUntilDone(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	b := newBench(t, w, Options{})
	job := queue.Job{Message: messageTo("one@example.org"), Rcpt: []int{0}}
	first, second := b.d.Carry(t.Context(), job), b.d.Carry(t.Context(), job)
	if h.sessions != 2 {
		t.Errorf("%d sessions for two messages that are not durable", h.sessions)
	}
	first.Done()
	second.Done()
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
	if h.sessions != 2 {
		t.Errorf("%d sessions afterwards", h.sessions)
	}
}

// TestHop_overrideOfSeveral: where routes and the relay have one URL, an
// operator's override neither loses the login nor the TLS that one asks for.
func TestHop_overrideOfSeveral(t *testing.T) {
	route := func(s string) Route {
		r, err := ParseRoute(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	login := &Hop{Host: "relay.example", Port: 587, User: "one", Password: "secret"}
	weak, strong := route("example.org smtp://relay.example:587 tls=no"), route("example.net smtp://relay.example:587 tls=require")
	for _, c := range []struct {
		o    Options
		want Hop
	}{
		{Options{Default: login, Routes: []Route{weak, strong}}, *login},
		{Options{Routes: []Route{weak, strong}}, strong.Hop},
		{Options{Routes: []Route{strong, weak}}, strong.Hop},
	} {
		r := newRoutes(&c.o)
		if h, err := r.override("relay.example:587"); err != nil || *h != c.want {
			t.Errorf("%+v, %v; want %+v", h, err, c.want)
		}
	}
}
