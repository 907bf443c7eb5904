package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
)

// answers is a resolver that says the same to every question, but of a list
// that is well: that does not list 127.0.0.1.
type answers struct {
	dns.Answer
	well bool
}

func (a answers) Ask(q dns.Question, done func(dns.Answer)) {
	if a.well && (strings.HasPrefix(q.Name, "1.0.0.127.") || strings.HasPrefix(q.Name, "1.0.0.0.0.0.f.7.")) {
		a.Answer = dns.Answer{RCode: dns.NXDomain, TTL: 60e9}
	}
	a.Question = q
	if q.Type == dns.TXT {
		a.Addrs, a.Texts = nil, []string{"sends spam"}
	}
	go done(a.Answer)
}

func TestRealLists_nothingWronglyRefused(t *testing.T) {
	code := func(s string) dns.Answer { return dns.Answer{Addrs: []netip.Addr{addr(s)}, TTL: 60e9} }
	for _, tt := range []struct {
		name   string
		answer dns.Answer
		kind   Kind
	}{
		{"not listed", dns.Answer{RCode: dns.NXDomain, TTL: 60e9}, Pass},
		{"listed", code("127.0.0.2"), Refuse},
		{"poisoned", code("127.0.0.1"), Pass},
		{"refusing by answer", code("127.255.255.254"), Pass},
		{"answers of a parked domain", code("198.51.100.80"), Pass},
		{"refusing", dns.Answer{RCode: dns.Refused}, Pass},
		{"failing", dns.Answer{RCode: dns.ServFail}, Pass},
		{"silent", dns.Answer{Err: dns.ErrTimeout}, Pass},
		{"busy", dns.Answer{Err: dns.ErrBusy}, Pass},
	} {
		for _, from := range []string{"192.0.2.7", "2001:db8::7"} {
			t.Run(tt.name+" "+from, func(t *testing.T) {
				checker, err := dnsbl.New(dnsbl.Options{}, answers{tt.answer, tt.kind == Refuse}, []dnsbl.List{{Zone: "bl.test", Weight: 3}})
				if err != nil {
					t.Fatal(err)
				}
				h := newHouse(t, nil)
				p := New(Options{Clock: h.clock}, Parts{Lists: checker, Greylist: h.grey})
				answered := make(chan dnsbl.Score, 1)
				s, ready := p.Score(addr(from), func(s dnsbl.Score) { answered <- s })
				if !ready {
					s = <-answered
				}
				g := h.guest(func(g *Guest) { g.Addr, g.Score = addr(from), s })
				v := p.Decide(g)
				if v.Kind != tt.kind {
					t.Errorf("%v, %q, want %v; evidence %+v", v.Kind, reply(&v), tt.kind, v.Evidence)
				}
				if v.Kind == Refuse && !strings.Contains(reply(&v), "["+from+"] is listed by bl.test") {
					t.Errorf("reply = %q", reply(&v))
				}
			})
		}
	}
}
