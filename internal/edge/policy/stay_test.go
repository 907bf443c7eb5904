package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
)

func TestLeft_bans(t *testing.T) {
	a := addr("192.0.2.7")
	refused := func(h *house, ended string) {
		h.Left(h.guest(func(g *Guest) { g.Refused, g.Ended = true, ended }))
	}
	tests := []struct {
		name string
		opt  func(o *Options)
		do   func(h *house)
		why  string
	}{
		{"one refusal", nil, func(h *house) { refused(h, EndedQuit) }, ""},
		{"two refusals", nil, func(h *house) { refused(h, EndedQuit); refused(h, EndedLeft) }, "refused in 2 sessions within 30 minutes"},
		{"two refusals far apart", nil, func(h *house) { refused(h, EndedQuit); h.clock.Advance(31 * time.Minute); refused(h, EndedQuit) }, ""},
		{"many that were not refused", nil, func(h *house) {
			for range 9 {
				h.Left(h.guest(func(g *Guest) { g.Ended = EndedTimeout }))
			}
		}, ""},
		{"loiterer", nil, func(h *house) { refused(h, EndedTimeout) }, "stayed until the time limit after its refusal"},
		{"refused and evicted", nil, func(h *house) { refused(h, EndedEvicted) }, ""},
		{"own network", func(o *Options) { o.Allow = prefixes("192.0.2.0/24") }, func(h *house) { refused(h, EndedTimeout); refused(h, EndedTimeout) }, ""},
		{"logged in today", nil, func(h *house) { h.LoginOK(a); h.clock.Advance(23 * time.Hour); refused(h, EndedTimeout) }, ""},
		{"logged in yesterday", nil, func(h *house) { h.LoginOK(a); h.clock.Advance(25 * time.Hour); refused(h, EndedTimeout) }, "stayed until"},
		{"five failed logins", nil, func(h *house) { fail(h, a, 5) }, "5 failed logins within 10 minutes"},
		{"four failed logins", nil, func(h *house) { fail(h, a, 4) }, ""},
		{"eight, slowly", nil, func(h *house) { fail(h, a, 4); h.clock.Advance(11 * time.Minute); fail(h, a, 4) }, ""},
		{"a login among the failures", nil, func(h *house) { fail(h, a, 4); h.LoginOK(a); fail(h, a, 9) }, ""},
		{"failed logins of the own network", func(o *Options) { o.Allow = prefixes("192.0.2.0/24") }, func(h *house) { fail(h, a, 9) }, ""},
		{"switched off", func(o *Options) { o.Bans = BanRules{RefusalsIn: time.Hour, GuessesIn: time.Hour} },
			func(h *house) { refused(h, EndedTimeout); refused(h, EndedTimeout); fail(h, a, 9) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, tt.opt)
			tt.do(h)
			got := h.bans.why[a]
			if (got == "") != (tt.why == "") || !strings.HasPrefix(got, tt.why) {
				t.Errorf("banned: %q, want %q", got, tt.why)
			}
		})
	}
}

// TestBans_home: the offences of a /64 are counted together, and it is banned as
// one source, unless somebody good is known to be in it.
func TestBans_home(t *testing.T) {
	one, other := addr("2001:db8:0:1::5"), addr("2001:db8:0:1:ffff::6")
	home := netip.MustParsePrefix("2001:db8:0:1::/64")
	alone := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	refused := func(h *house, a netip.Addr) {
		h.Left(h.guest(func(g *Guest) { g.Addr, g.Refused, g.Ended = a, true, EndedQuit }))
	}
	both := func(h *house) { refused(h, one); refused(h, other) }
	tests := []struct {
		name string
		do   func(h *house)
		at   netip.Addr   // who is banned at last
		with netip.Prefix // invalid: nobody is
	}{
		{"two refusals, two addresses", both, other, home},
		{"two refusals, two /64s", func(h *house) { refused(h, one); refused(h, addr("2001:db8:0:2::5")) }, netip.Addr{}, netip.Prefix{}},
		{"failed logins, two addresses", func(h *house) { fail(h, one, 2); fail(h, other, 3) }, other, home},
		{"a login in the /64", func(h *house) { fail(h, one, 4); h.LoginOK(other); fail(h, one, 4) }, netip.Addr{}, netip.Prefix{}},
		{"loiterer", func(h *house) {
			h.Left(h.guest(func(g *Guest) { g.Addr, g.Refused, g.Ended = one, true, EndedTimeout }))
		}, one, home},
		{"passed before", func(h *house) { h.grey.known[other] = true; both(h) }, other, alone(other)},
		{"a trusted sender in it", func(h *house) { trust(h, "2001:db8:0:1::70/124"); both(h) }, other, alone(other)},
		{"a trusted sender around it", func(h *house) { trust(h, "2001:db8::/56"); both(h) }, other, alone(other)},
		{"a trusted sender elsewhere", func(h *house) { trust(h, "2001:db8:0:2::/64", "2001:db8::/64"); both(h) }, other, home},
		{"IPv4", func(h *house) { refused(h, addr("192.0.2.1")); refused(h, addr("192.0.2.2")) }, netip.Addr{}, netip.Prefix{}},
		{"IPv4 translated", func(h *house) { refused(h, addr("64:ff9b::192.0.2.1")); refused(h, addr("64:ff9b::192.0.2.2")) }, netip.Addr{}, netip.Prefix{}},
		{"one link", func(h *house) { refused(h, addr("fe80::1%eth0")); refused(h, addr("fe80::1%eth0")) }, addr("fe80::1%eth0"), alone(addr("fe80::1"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, nil)
			tt.do(h)
			if got := h.bans.with[tt.at]; got != tt.with || len(h.bans.why) > 1 || (len(h.bans.why) == 1) != tt.with.IsValid() {
				t.Errorf("banned %v, the last with %v; want with %v", h.bans.why, got, tt.with)
			}
		})
	}
}

// trust makes networks those of trusted senders.
func trust(h *house, networks ...string) {
	h.pools.known.Store(newRanges(prefixes(networks...), func(int) string { return "trusted.test" }))
}

func fail(h *house, a netip.Addr, n int) {
	for range n {
		h.LoginFailed(a)
	}
}

func TestRecipient_rates(t *testing.T) {
	limits := func(o *Options) {
		o.Rates = Rates{
			Recipients: Limits{Address: Rate{Minute: 5}, Network: Rate{Minute: 8}, Helo: Rate{Minute: 12}},
			Unknown:    Limits{Address: Rate{Minute: 2}},
			Messages:   Limits{Address: Rate{Hour: 3}},
		}
	}
	tests := []struct {
		name  string
		guest func(i int, g *Guest)
		each  func(h *house, g *Guest) // after a recipient that was taken
		want  int                      // recipients taken of 40
		reply string
	}{
		{name: "by address", want: 5, reply: "450 4.7.1 Too many recipients from your address (at most 5 a minute); try again in 12 seconds"},
		{name: "by network", guest: func(i int, g *Guest) { g.Addr = addr(fmt.Sprintf("192.0.2.%d", i+1)) }, want: 8, reply: "from your network (at most 8 a minute)"},
		{name: "by HELO domain", guest: func(i int, g *Guest) { g.Addr, g.Helo = distinct(i), fmt.Sprintf("m%d.pool.test", i) }, want: 12, reply: "from your HELO domain (at most 12 a minute)"},
		{name: "apart", guest: func(i int, g *Guest) { g.Addr, g.Helo = distinct(i), fmt.Sprintf("m.pool%d.test", i) }, want: 40},
		{name: "known", guest: func(_ int, g *Guest) { g.Known = true }, want: 40},
		{name: "own network", guest: func(_ int, g *Guest) { g.Addr = addr("127.0.0.1") }, want: 40},
		{name: "harvester", each: func(h *house, g *Guest) { h.RecipientRefused(g) }, want: 2, reply: "450 4.7.1 Too many unknown recipients from your address (at most 2 a minute); try again in 30 seconds"},
		{name: "messages", each: func(h *house, g *Guest) { h.Accepted(g, h.clock.Now()) }, want: 3, reply: "450 4.7.1 Too many messages from your address (at most 3 an hour); try again in 20 minutes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, limits)
			got, reply := 0, ""
			for i := range 40 {
				g := h.guest(nil)
				if tt.guest != nil {
					tt.guest(i, g)
				}
				if r := h.Recipient(g, h.clock.Now()); r != nil {
					reply = r.String()
					continue
				}
				got++
				if tt.each != nil {
					tt.each(h, g)
				}
			}
			if got != tt.want || !strings.Contains(reply, tt.reply) || (reply == "") != (tt.reply == "") {
				t.Errorf("%d recipients taken, last refusal %q; want %d, %q", got, reply, tt.want, tt.reply)
			}
			h.clock.Advance(time.Hour)
			if r := h.Recipient(h.guest(nil), h.clock.Now()); r != nil {
				t.Errorf("an hour later: %v, want none", r)
			}
		})
	}
}

func TestDecide_rates(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Rates = Rates{Recipients: Limits{Address: Rate{Minute: 1}}} })
	g := h.guest(nil)
	if v := h.Decide(g); v.Kind != Pass {
		t.Fatalf("verdict %v, want pass", v.Kind)
	}
	if r := h.Recipient(g, g.Now); r != nil {
		t.Fatalf("the recipient of the verdict was counted twice: %v", r)
	}
	if v := h.Decide(h.guest(func(g *Guest) { g.ID = "b" })); v.Kind != Defer || v.By != CheckRate || v.Reply.Code != 450 {
		t.Errorf("second guest: %v by %s, %v; want a 450 by rate", v.Kind, v.By, v.Reply)
	}
}

func TestDecide_harvester(t *testing.T) {
	h := newHouse(t, nil)
	for range 10 {
		h.RecipientRefused(h.guest(nil))
	}
	v := h.Decide(h.guest(func(g *Guest) { g.Score.Hits = hitLight }))
	if v.Kind != Refuse || v.By != CheckHarvest {
		t.Errorf("a harvester on a light list: %v by %s, want refuse by harvest; %+v", v.Kind, v.By, v.Evidence)
	}
	if v := h.Decide(h.guest(func(g *Guest) { g.Addr = addr("198.51.100.1") })); v.Kind != Pass {
		t.Errorf("another: %v, want pass", v.Kind)
	}
}

func TestDecide_knownSenderListedSince(t *testing.T) {
	h := newHouse(t, nil)
	known := func(g *Guest) { g.Known, g.Scored = true, false }
	if v := h.Decide(h.guest(known)); v.Kind != Pass {
		t.Fatalf("verdict %v, want pass", v.Kind)
	}
	h.lists.says[addr("192.0.2.7")] = dnsbl.Score{Hits: hitHeavy}
	if v := h.Decide(h.guest(known)); v.Kind != Refuse || v.By != "dnsbl:heavy.test" {
		t.Errorf("once it is listed: %v by %s, want refuse by the list", v.Kind, v.By)
	}
}

func TestWelcomeAndListed(t *testing.T) {
	h := newHouse(t, nil)
	for _, tt := range []struct {
		s               dnsbl.Score
		welcome, listed bool
	}{
		{dnsbl.Score{}, false, false},
		{dnsbl.Score{Hits: hitWhite}, true, false},
		{dnsbl.Score{Hits: hitWhite, Silent: hitWhite}, false, false},
		{dnsbl.Score{Hits: hitWhite | hitHeavy}, false, false},
		{dnsbl.Score{Hits: hitLight}, false, false},
		{dnsbl.Score{Hits: hitHeavy}, false, true},
	} {
		if w, l := h.Welcome(tt.s), h.Listed(tt.s); w != tt.welcome || l != tt.listed {
			t.Errorf("%+v: welcome %v, listed %v; want %v, %v", tt.s, w, l, tt.welcome, tt.listed)
		}
	}
}

func TestShadow(t *testing.T) {
	for _, from := range []string{"memory", "history"} {
		t.Run(from, func(t *testing.T) {
			disk := newDisk()
			h := newHouse(t, func(o *Options) {
				o.Shadow = []string{"early-talk", "dnsbl:light.test", "no-such-check"}
				o.History = HistoryOptions{FS: disk, Dir: "/history"}
			})
			for i := range 4 {
				g := h.guest(func(g *Guest) {
					g.ID, g.Faults = fmt.Sprint("early", i), EarlyTalk
				})
				h.Arrive(g.Addr, g.Now)
				if v := h.Decide(g); v.Kind != Pass {
					t.Fatalf("verdict %v, want pass: the check is in shadow", v.Kind)
				}
				if i < 2 {
					h.Accepted(g, h.clock.Now())
					h.Accepted(g, h.clock.Now()) // a second message of the session
				}
			}
			h.Decide(h.guest(func(g *Guest) { g.ID, g.Score.Hits = "light", hitLight }))
			h.Decide(h.guest(func(g *Guest) { g.ID, g.Score.Hits, g.Faults = "refused anyway", hitLight|hitHeavy, EarlyTalk }))
			r := h.Shadow()
			if from == "history" {
				var err error
				if r, err = h.ShadowHistory(); err != nil {
					t.Fatal(err)
				}
			}
			if len(r.Checks) != 2 {
				t.Fatalf("checks = %+v, want two", r.Checks)
			}
			light, early := r.Checks[0], r.Checks[1]
			if light.Check != "dnsbl:light.test" || light.Saw != 2 || light.WouldDefer != 1 || light.WouldRefuse != 0 || light.Good != 0 {
				t.Errorf("got %+v, want dnsbl:light.test to have seen 2 and to defer 1", light)
			}
			if early.Saw != 5 || early.WouldRefuse != 4 || early.Good != 2 || len(early.Examples) != 4 {
				t.Errorf("got %+v, want early-talk to have seen 5, to refuse 4, 2 of them good", early)
			}
			if x := early.Examples[0]; x.Session != "early0" || !x.Good || x.IP != "192.0.2.7" || x.From != "jo@sender.test" || x.Would != "refuse" {
				t.Errorf("example = %+v", x)
			}
			var text strings.Builder
			if _, err := r.WriteTo(&text); err != nil || !strings.Contains(text.String(), "early-talk: saw something in 5, would have refused 4 and deferred 0; 2 of those were good\n  good ") {
				t.Errorf("text = %s, %v", text.String(), err)
			}
		})
	}
}

func TestTop(t *testing.T) {
	h := newHouse(t, func(o *Options) {
		o.Sources = 8
		o.Caps = Caps{}
		o.Rates.Connections = Limits{Network: Rate{Minute: 100000}}
	})
	for i := range 1000 {
		a := distinct(i) // each once
		if i%2 == 0 {
			a = addr("192.0.2.9")
		}
		g := Guest{ID: fmt.Sprint(i), Addr: a, Now: h.clock.Now(), Arrived: h.clock.Now(), Faults: EarlyTalk}
		h.Arrive(a, g.Now)
		v := h.Decide(&g)
		g.Refused, g.Ended, g.Octets, g.CPU, g.Questions = v.Kind == Refuse, EndedQuit, int64(i%2)*10+1, 100*time.Microsecond, 2
		h.Left(&g)
	}
	top := h.Top(3)
	if n := netip.MustParsePrefix("192.0.2.0/24"); len(top.Connections) != 3 || top.Connections[0].Network != n || top.Refusals[0].Network != n ||
		top.Connections[0].Amount-top.Connections[0].Error < 490 || top.Connections[0].Amount > 1000 {
		t.Errorf("connections %+v, refusals %+v; want %v first with about 500", top.Connections, top.Refusals, n)
	}
	if top.Minute.Arrived != 1000 || top.Minute.Refused != 1000 || top.Total.Refused != 1000 || top.By[CheckEarlyTalk] != 1000 || top.CPU[0].Amount < 490*100 {
		t.Errorf("top = %+v", top)
	}
	h.clock.Advance(2 * time.Minute)
	if m := h.Top(3).Minute; m != (Counts{}) {
		t.Errorf("two minutes later the last minute has %+v, want nothing", m)
	}
	h.clock.Advance(topHalf)
	if c := h.Top(1).Connections[0]; c.Amount > top.Connections[0].Amount/2 {
		t.Errorf("amount %d after it was to be halved from %d", c.Amount, top.Connections[0].Amount)
	}
}

// TestAllowed: it is asked of the options as they are now.
func TestAllowed(t *testing.T) {
	o := Defaults()
	o.Allow = prefixes("10.0.0.0/8")
	h := newHouse(t, nil)
	h.Reload(o)
	if !h.Allowed(addr("10.1.2.3")) || !h.Allowed(addr("::ffff:10.1.2.3")) || h.Allowed(addr("192.0.2.1")) {
		t.Error("not what the options say")
	}
}
