package policy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// fakeLists are three lists: heavy, light and white.
type fakeLists struct {
	text string
	says map[netip.Addr]dnsbl.Score
}

const (
	hitHeavy = 1 << iota
	hitLight
	hitWhite
)

func (f *fakeLists) Lists() []dnsbl.List {
	return []dnsbl.List{{Zone: "heavy.test", Weight: 3}, {Zone: "light.test", Weight: 1}, {Zone: "white.test", Weight: -3}}
}

func (f *fakeLists) Check(a netip.Addr, done func(dnsbl.Score)) (dnsbl.Score, bool) {
	return f.says[a], true
}

func (f *fakeLists) Reason(s dnsbl.Score, a netip.Addr) (zone, text, url string) {
	for i, l := range f.Lists() {
		if s.Hits>>i&1 != 0 {
			return l.Zone, f.text, "https://" + l.Zone + "/" + a.String()
		}
	}
	return "", "", ""
}

func (f *fakeLists) Findings(_ context.Context, a netip.Addr) []dnsbl.Finding {
	var out []dnsbl.Finding
	for i, l := range f.Lists() {
		x := dnsbl.Finding{Zone: l.Zone, Question: a.String() + "." + l.Zone, Weight: l.Weight}
		if x.Listed = f.says[a].Hits>>i&1 != 0; x.Listed {
			x.Answer = "127.0.0.2"
		}
		if f.says[a].Silent>>i&1 != 0 {
			x.Ignored = "no answer in time"
		}
		out = append(out, x)
	}
	return out
}

// fakeGreylist passes what comes back after a minute.
type fakeGreylist struct {
	mu       sync.Mutex
	first    map[string]time.Time
	known    map[netip.Addr]bool
	checked  []Sender
	accepted int
}

func newFakeGreylist() *fakeGreylist {
	return &fakeGreylist{first: map[string]time.Time{}, known: map[netip.Addr]bool{}}
}

func (f *fakeGreylist) KnownAddr(a netip.Addr, _ time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[a]
}

func (f *fakeGreylist) Known(s Sender, now time.Time) bool { return f.KnownAddr(s.Addr, now) }

func (f *fakeGreylist) look(s Sender, to message.Address, now time.Time, keep bool) Waiting {
	f.mu.Lock()
	defer f.mu.Unlock()
	who := s.Pool
	if who == "" {
		who = s.Addr.String()
	}
	key := who + string(s.Domain) + to.String()
	first, ok := f.first[key]
	if !ok {
		first = now
	}
	if keep {
		f.first[key] = first
		f.checked = append(f.checked, s)
	}
	w := Waiting{First: first, Retry: first.Add(time.Minute), Attempts: 1}
	if waited := now.Sub(first); waited >= time.Minute {
		w.Pass, w.Waited, w.Header = true, waited, "X-Greylist: delayed\r\n"
	}
	return w
}

func (f *fakeGreylist) Check(s Sender, to message.Address, now time.Time) Waiting {
	return f.look(s, to, now, true)
}

func (f *fakeGreylist) Peek(s Sender, to message.Address, now time.Time) Waiting {
	return f.look(s, to, now, false)
}

func (f *fakeGreylist) Accepted(s Sender, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[s.Addr] = true
	f.accepted++
}

type fakeBans struct {
	mu     sync.Mutex
	why    map[netip.Addr]string
	with   map[netip.Addr]netip.Prefix
	asked  int
	exempt []netip.Addr
}

func (f *fakeBans) Ban(a netip.Addr, with netip.Prefix, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why[a], f.with[a] = why, with
}

func (f *fakeBans) Banned(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.why[a] != ""
}

func (f *fakeBans) Authenticated(a netip.Addr) { f.exempt = append(f.exempt, a) }

// fakeSPF knows the networks of some domains.
type fakeSPF struct {
	mu    sync.Mutex
	nets  map[message.Domain][]netip.Prefix
	asked []message.Domain
}

func (f *fakeSPF) Networks(_ context.Context, d message.Domain) ([]netip.Prefix, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, d)
	if n, ok := f.nets[d]; ok {
		return n, nil
	}
	return nil, errors.New("no record")
}

func (f *fakeSPF) Check(_ context.Context, a netip.Addr, _ string, from message.Address) SPFFinding {
	return SPFFinding{Result: "fail", Domain: string(from.Domain), Mechanism: "-all", Steps: []string{"v=spf1 -all"}}
}

// house is a Policy with all its fakes.
type house struct {
	*Policy
	clock *sim.Clock
	lists *fakeLists
	grey  *fakeGreylist
	bans  *fakeBans
	spf   *fakeSPF
}

func start() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func newHouse(t testing.TB, change func(o *Options)) *house {
	t.Helper()
	h := &house{
		clock: sim.NewClock(start()), lists: &fakeLists{says: map[netip.Addr]dnsbl.Score{}}, grey: newFakeGreylist(),
		bans: &fakeBans{why: map[netip.Addr]string{}, with: map[netip.Addr]netip.Prefix{}}, spf: &fakeSPF{nets: map[message.Domain][]netip.Prefix{}},
	}
	o := Options{
		Hostname: "mx.here.test", Names: []string{"here.test"}, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
		Clock: h.clock,
	}
	if change != nil {
		change(&o)
	}
	h.Policy = New(o, Parts{
		Lists: h.lists, Greylist: h.grey, Bans: h.bans, SPF: h.spf,
		WhyBanned: func(a netip.Addr) (string, bool) { why, ok := h.bans.why[a]; return why, ok },
	})
	return h
}

// guest is a stranger who does nothing wrong.
func (h *house) guest(change func(g *Guest)) *Guest {
	now := h.clock.Now()
	g := &Guest{
		ID: "aaaaaaaaaaaaa", Addr: netip.MustParseAddr("192.0.2.7"), Helo: "mail.sender.test", ESMTP: true,
		HasFrom: true, From: message.Address{Local: "jo", Domain: "sender.test"},
		HasTo: true, To: message.Address{Local: "one", Domain: "here.test"}, Rcpts: 1, Arrived: now, Now: now, Scored: true,
	}
	if change != nil {
		change(g)
	}
	return g
}

func reply(v *Verdict) string {
	if v.Reply == nil {
		return ""
	}
	return v.Reply.String()
}

type decision struct {
	name    string
	options func(o *Options)
	guest   func(g *Guest)
	kind    Kind
	by      string
	score   int
	reply   string // is in it
}

func TestDecide_lists(t *testing.T) {
	testDecisions(t, []decision{
		{name: "nothing wrong", kind: Pass, by: "score"},
		{name: "null sender", guest: func(g *Guest) { g.From = message.Address{} }, kind: Pass, by: "score"},
		{name: "lists not answered", guest: func(g *Guest) { g.Scored = false }, kind: Pass, by: "score"},
		{name: "listed", guest: func(g *Guest) { g.Score = dnsbl.Score{Hits: hitHeavy, Weight: 3} }, kind: Refuse, by: "dnsbl:heavy.test", score: 3,
			reply: "554 5.7.1 Service unavailable; client [192.0.2.7] is listed by heavy.test (open proxy); see https://heavy.test/192.0.2.7"},
		{name: "listed by a light list", guest: func(g *Guest) { g.Score = dnsbl.Score{Hits: hitLight, Weight: 1} }, kind: Defer, by: "greylist", score: 1,
			reply: "451 4.7.1 Greylisted: client [192.0.2.7] is new here, and is listed by light.test (open proxy); see https://light.test/192.0.2.7; try again in 60 seconds"},
		{name: "listed and white", guest: func(g *Guest) { g.Score = dnsbl.Score{Hits: hitHeavy | hitWhite} }, kind: Pass, by: "score", score: 0},
		{name: "lists silent", guest: func(g *Guest) { g.Score = dnsbl.Score{Silent: hitHeavy | hitLight | hitWhite} }, kind: Pass, by: "score"},
		{name: "a silent list seems to list it", guest: func(g *Guest) { g.Score = dnsbl.Score{Hits: hitHeavy, Silent: hitHeavy, Weight: 3} }, kind: Pass, by: "score"},
		{name: "a list that is not there lists it", guest: func(g *Guest) { g.Score = dnsbl.Score{Hits: 1 << 20, Weight: 9} }, kind: Pass, by: "score"},
	})
}

func TestDecide_behaviour(t *testing.T) {
	testDecisions(t, []decision{
		{name: "early talker", guest: func(g *Guest) { g.Faults = EarlyTalk }, kind: Refuse, by: "early-talk", score: 3,
			reply: "554 5.7.1 Service unavailable; client [192.0.2.7] behaves as spam programs do: it talked before our banner"},
		{name: "pipelining", guest: func(g *Guest) { g.Faults = Pipelined }, kind: Defer, by: "greylist", score: 2, reply: "it sent commands without waiting"},
		{name: "other protocol", guest: func(g *Guest) { g.Faults = NotSMTP }, kind: Refuse, by: "not-smtp", score: 3, reply: "another protocol"},
		{name: "bare newline and pipelining", guest: func(g *Guest) { g.Faults = BareNewline | Pipelined }, kind: Refuse, by: "pipelining", score: 4,
			reply: "it sent commands without waiting for our replies where it must (RFC 2920 section 3.1); its lines end in a bare LF"},
		{name: "malformed HELO", guest: func(g *Guest) { g.Faults = BadHelo }, kind: Defer, by: "greylist", score: 1},
		{name: "long line, many errors", guest: func(g *Guest) { g.Faults = LongLine | ManyErrors }, kind: Defer, by: "greylist", score: 2},
		{name: "early talker on a white list", guest: func(g *Guest) { g.Faults, g.Score.Hits = EarlyTalk, hitWhite }, kind: Pass, by: "score"},
		{name: "our name", guest: func(g *Guest) { g.Helo = "MX.here.test." }, kind: Refuse, by: "helo-own-name", score: 3, reply: "a name of this server"},
		{name: "our domain", guest: func(g *Guest) { g.Helo = "here.test" }, kind: Refuse, by: "helo-own-name", score: 3},
		{name: "our address", guest: func(g *Guest) { g.Helo = "[203.0.113.1]" }, kind: Refuse, by: "helo-own-address", score: 3, reply: "an address of this server"},
		{name: "another address", guest: func(g *Guest) { g.Helo = "[192.0.2.8]" }, kind: Defer, by: "greylist", score: 1, reply: "not its own"},
		{name: "its address", guest: func(g *Guest) { g.Helo = "[192.0.2.7]" }, kind: Pass, by: "score"},
		{name: "bare address", guest: func(g *Guest) { g.Helo = "192.0.2.7" }, kind: Defer, by: "greylist", score: 1, reply: "without brackets"},
		{name: "no name", guest: func(g *Guest) { g.Helo = "a b" }, kind: Defer, by: "greylist", score: 1, reply: "not a domain name"},
		{name: "short name", guest: func(g *Guest) { g.Helo = "winbox" }, kind: Defer, by: "greylist", score: 1, reply: "not fully qualified"},
		{name: "short name and a light list", guest: func(g *Guest) { g.Helo, g.Score.Hits, g.Faults = "winbox", hitLight, LongLine }, kind: Refuse,
			by: "long-line", score: 3, reply: "is listed by light.test"},
	})
}

func TestDecide_options(t *testing.T) {
	testDecisions(t, []decision{
		{name: "denied", options: func(o *Options) { o.Deny = prefixes("192.0.2.0/24") }, kind: Refuse, by: "deny", reply: "by decision of the operator"},
		{name: "allowed, whatever it does", options: func(o *Options) { o.Allow = prefixes("192.0.2.0/24") },
			guest: func(g *Guest) { g.Faults, g.Score.Hits = EarlyTalk|NotSMTP, hitHeavy }, kind: Pass, by: "allow"},
		{name: "known and suspect", guest: func(g *Guest) { g.Known, g.Helo = true, "winbox" }, kind: Pass, by: "score", score: 1},
		{name: "known and refused", guest: func(g *Guest) { g.Known, g.Faults = true, EarlyTalk }, kind: Refuse, by: "early-talk", score: 3},
		{name: "suspect at STARTTLS", guest: func(g *Guest) { g.Helo, g.HasTo, g.HasFrom = "winbox", false, false }, kind: Pass, by: "score", score: 1},
		{name: "listed at STARTTLS", guest: func(g *Guest) { g.Score.Hits, g.HasTo, g.HasFrom = hitHeavy, false, false }, kind: Refuse, by: "dnsbl:heavy.test", score: 3},
		{name: "a weight of 0", options: func(o *Options) { o.Weights = Weights{Pipelined: 1} },
			guest: func(g *Guest) { g.Faults, g.Helo = EarlyTalk|NotSMTP, "here.test" }, kind: Pass, by: "score"},
		{name: "list in shadow", options: func(o *Options) { o.Shadow = []string{"dnsbl:heavy.test"} },
			guest: func(g *Guest) { g.Score.Hits = hitHeavy }, kind: Pass, by: "score"},
		{name: "all lists in shadow", options: func(o *Options) { o.Shadow = []string{"dnsbl"} },
			guest: func(g *Guest) { g.Score.Hits = hitHeavy | hitLight }, kind: Pass, by: "score"},
		{name: "the list in shadow is not named", options: func(o *Options) { o.Shadow = []string{"dnsbl:heavy.test"} },
			guest: func(g *Guest) { g.Score.Hits = hitHeavy | hitLight }, kind: Defer, by: "greylist", score: 1, reply: "is listed by light.test"},
		{name: "score in shadow", options: func(o *Options) { o.Shadow = []string{"score"} },
			guest: func(g *Guest) { g.Score.Hits = hitHeavy }, kind: Pass, by: "score", score: 3},
		{name: "deny in shadow", options: func(o *Options) { o.Deny, o.Shadow = prefixes("192.0.2.0/24"), []string{"deny"} }, kind: Pass, by: "score"},
		{name: "greylist in shadow", options: func(o *Options) { o.Shadow = []string{"greylist"} },
			guest: func(g *Guest) { g.Helo = "winbox" }, kind: Pass, by: "score", score: 1},
		{name: "IPv6", guest: func(g *Guest) { g.Addr, g.Score.Hits = netip.MustParseAddr("2001:db8::7"), hitHeavy }, kind: Refuse, by: "dnsbl:heavy.test", score: 3,
			reply: "client [2001:db8::7] is listed"},
		{name: "a page of the operator's", options: func(o *Options) { o.URL = "https://here.test/why?ip={ip}" },
			guest: func(g *Guest) { g.Faults = EarlyTalk }, kind: Refuse, by: "early-talk", score: 3, reply: "; see https://here.test/why?ip=192.0.2.7"},
	})
}

func testDecisions(t *testing.T, tests []decision) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, tt.options)
			h.lists.text = "open proxy"
			v := h.Decide(h.guest(tt.guest))
			if v.Kind != tt.kind || v.By != tt.by || v.Score != tt.score {
				t.Errorf("got %v by %s, score %d, want %v by %s, score %d; evidence %+v", v.Kind, v.By, v.Score, tt.kind, tt.by, tt.score, v.Evidence)
			}
			if !strings.Contains(reply(&v), tt.reply) {
				t.Errorf("reply = %q, want it to hold %q", reply(&v), tt.reply)
			}
			if (v.Reply == nil) != (v.Kind == Pass) {
				t.Errorf("verdict %v has reply %q", v.Kind, reply(&v))
			}
			decided := 0
			for _, e := range v.Evidence {
				if e.Decided {
					decided++
				}
			}
			if decided != 1 {
				t.Errorf("%d pieces of evidence decided, want 1: %+v", decided, v.Evidence)
			}
		})
	}
}

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestDecide_repliesFitTheWire(t *testing.T) {
	h := newHouse(t, nil)
	h.lists.text = strings.Repeat("see\r\n250 ok\x00 ", 200)
	v := h.Decide(h.guest(func(g *Guest) { g.Score.Hits = hitHeavy }))
	if len(v.Reply.Text) > 450 || strings.ContainsAny(v.Reply.Text, "\r\n\x00") {
		t.Errorf("reply = %q, want one line of at most 450 octets", v.Reply.Text)
	}
	if !v.Reply.Enhanced.Valid(v.Reply.Code) {
		t.Errorf("enhanced code %s does not go with %d", v.Reply.Enhanced, v.Reply.Code)
	}
}

func TestDecide_greylistedGuestComesBack(t *testing.T) {
	h := newHouse(t, nil)
	suspect := func(g *Guest) { g.Helo = "winbox" }
	if v := h.Decide(h.guest(suspect)); v.Kind != Defer {
		t.Fatalf("first attempt: %v, want defer", v.Kind)
	}
	h.clock.Advance(5 * time.Minute)
	g := h.guest(suspect)
	v := h.Decide(g)
	if v.Kind != Pass || v.By != CheckGreylist || v.Headers != "X-Greylist: delayed\r\n" {
		t.Fatalf("second attempt: %v by %s, headers %q; want pass by greylist with a header", v.Kind, v.By, v.Headers)
	}
	h.Accepted(g, h.clock.Now())
	if e := h.Arrive(g.Addr, h.clock.Now()); e.Kind != EntryAdmit || !e.Known {
		t.Fatalf("third attempt: %+v, want it admitted at once", e)
	}
}

// Of two messages that were held, the one that comes second finds its sender
// known already: it says all the same how long it has waited.
func TestDecide_heldMessageOfAKnownSender(t *testing.T) {
	h := newHouse(t, nil)
	suspect := func(g *Guest) { g.Faults = Pipelined }
	if v := h.Decide(h.guest(suspect)); v.Kind != Defer {
		t.Fatalf("verdict %v, want defer", v.Kind)
	}
	h.clock.Advance(5 * time.Minute)
	h.grey.known[netip.MustParseAddr("192.0.2.7")] = true
	other := func(g *Guest) { suspect(g); g.ID, g.To.Local = "bbbbbbbbbbbbb", "two" }
	for _, tt := range []struct {
		guest func(*Guest)
		want  string
	}{{other, ""}, {suspect, "X-Greylist: delayed\r\n"}} {
		if v := h.Decide(h.guest(tt.guest)); v.Kind != Pass || v.Headers != tt.want {
			t.Errorf("verdict %v with headers %q, want pass with %q", v.Kind, v.Headers, tt.want)
		}
		if got := h.Held(h.guest(tt.guest)); got != tt.want {
			t.Errorf("later in the session: headers %q, want %q", got, tt.want)
		}
	}
}

func TestDecide_evidenceHasEveryCheckInOrder(t *testing.T) {
	h := newHouse(t, nil)
	v := h.Decide(h.guest(func(g *Guest) {
		g.Faults, g.Score = BareNewline, dnsbl.Score{Hits: hitHeavy | hitLight, Silent: hitWhite}
	}))
	var got []string
	for _, e := range v.Evidence {
		got = append(got, e.Check+"="+e.Detail)
	}
	want := "allow=nothing deny=nothing known=nothing early-talk=nothing pipelining=nothing not-smtp=nothing " +
		"bare-newline=ended lines in a bare LF helo-malformed=nothing long-line=nothing many-errors=nothing helo=nothing harvest=nothing " +
		"dnsbl:heavy.test=lists it dnsbl:light.test=lists it dnsbl:white.test=no usable answer score=6, refused from 3, suspect from 1"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("evidence\ngot  %s\nwant %s", s, want)
	}
}

func addressOf(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var _ Lists = (*dnsbl.Checker)(nil)
