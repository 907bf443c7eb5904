package dns

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

func TestAnswer_status(t *testing.T) {
	server := serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
		r := new(mdns.Msg).SetReply(m)
		switch name := m.Question[0].Name; name {
		case "alias.example.":
			r.Answer = append(r.Answer, record(t, "alias.example. 60 IN CNAME host.example."), record(t, "host.example. 60 IN TLSA 3 1 1 00ff"))
		case "dangling.example.":
			r.Answer = append(r.Answer, record(t, "dangling.example. 60 IN CNAME none.example."))
			r.Rcode = mdns.RcodeNameError
		case "found.example.":
			r.Answer = append(r.Answer, record(t, name+" 60 IN TLSA 3 1 1 00ff"))
		case "servfail.example.":
			r.Rcode = mdns.RcodeServerFailure
		case "refused.example.":
			r.Rcode = mdns.RcodeRefused
		case "none.example.":
			r.Rcode = mdns.RcodeNameError
		case "silent.example.":
			return
		}
		_ = w.WriteMsg(r)
	})
	c := open(t, Options{Servers: []netip.AddrPort{server}, Timeout: shortTry, Tries: 1})
	for name, want := range map[string]Status{
		"found.example": Found, "alias.example": Found, "empty.example": NoData, "none.example": NoName, "dangling.example": NoName,
		"servfail.example": Failing, "refused.example": Failing, "silent.example": Unanswered, strings.Repeat("a", 64) + ".example": Unanswered,
	} {
		a := c.Lookup(t.Context(), Question{name, TLSA})
		if got := a.Status(); got != want || (want >= Failing) != a.Failed() {
			t.Errorf("%s: got %s %v %v, want %s", name, got, a.RCode, a.Err, want)
		}
		canonical := map[string]string{"alias.example": "host.example", "dangling.example": "none.example"}[name]
		if a.Target != canonical || canonical == "" && a.Canonical() != name {
			t.Errorf("%s: got target %q, want %q", name, a.Target, canonical)
		}
	}
}

// TestClient_trust has a server on this host and one elsewhere vouch for an
// answer, each for who is to be believed.
func TestClient_trust(t *testing.T) {
	for _, c := range []struct {
		server string
		trust  Trust
		want   bool
	}{
		{"127.0.0.1", TrustLoopback, true}, {"::1", TrustLoopback, true}, {"::ffff:127.0.0.1", TrustLoopback, true}, {"192.0.2.1", TrustLoopback, false},
		{"127.0.0.1", TrustAll, true}, {"192.0.2.1", TrustAll, true}, {"127.0.0.1", TrustNone, false}, {"192.0.2.1", TrustNone, false},
	} {
		o := Options{Servers: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(c.server), 53)}, TrustAD: c.trust}
		if got := o.trusted() == 1; got != c.want {
			t.Errorf("%s, trust %d: got %v, want %v", c.server, c.trust, got, c.want)
		}
	}
	w := newWorld(t, 2, func(o *Options) { o.TrustAD = TrustNone })
	w.m.trusted = 2 // the second only
	q := w.ask("a.example")
	p, server := w.last()
	if server != 0 {
		t.Fatalf("asked server %d first", server)
	}
	w.deliver(p.socket, reply(t, p.p, mdns.RcodeServerFailure, nil))
	p, _ = w.last()
	w.deliver(p.socket, reply(t, p.p, 0, func(m *mdns.Msg) { m.AuthenticatedData = true }, "a.example. 60 IN A 192.0.2.1"))
	if a := w.one(q); !a.Authentic || a.TTL != time.Minute {
		t.Errorf("got %+v, want an answer that the second server vouches for", a)
	}
}

func TestDecode_lengths(t *testing.T) {
	q := Question{Name: "a.example", Type: TLSA}
	whole := packed(t, q, 0, "a.example. 60 IN TLSA 3 1 1 00ff")
	short := append([]byte(nil), whole[:len(whole)-3]...)
	short[len(short)-3] = 2 // of its length
	if _, err := decode(short, q); err != ErrMalformed {
		t.Errorf("TLSA of two octets: got %v, want %v", err, ErrMalformed)
	}
	if a, err := decode(packed(t, q, 0, "a.example. 60 IN TYPE52 \\# 3 030101"), q); err != nil || len(a.TLSA) != 1 || a.TLSA[0].Data != "" {
		t.Errorf("TLSA without data: got %+v %v, want it", a, err)
	}
}
