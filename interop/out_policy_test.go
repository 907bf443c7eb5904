//go:build interop

package interop

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
)

// policy is the text of an MTA-STS policy.
func stsPolicy(mode string, mxs ...string) string {
	text := "version: STSv1\r\nmode: " + mode + "\r\nmax_age: 86400\r\n"
	for _, mx := range mxs {
		text += "mx: " + mx + "\r\n"
	}
	return text
}

// dnsCase is a domain, and what has to become of mail for it.
type dnsCase struct {
	domain string
	state  string   // Relayed, deferred or bounced
	says   []string // in what happened last, as trace tells it
	sink   *sink    // where it has to arrive; nil: nowhere
	tls    bool     // ... and by TLS
	others []*sink  // that must not see it
}

// TestOut_DNS finds mail hosts by the zones of nsd through unbound, which
// validates: in which order they are tried, and what TLS has to be like.
func TestOut_DNS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newAuthority(t, w.dir)
	n := 0
	listen := func(cert *tls.Certificate) *sink {
		n++
		return startSink(t, fmt.Sprintf("127.25.0.%d:25", n), cert, sinkRules{})
	}
	host := func(s *sink) string { h, _, _ := net.SplitHostPort(s.addr); return h }
	cases := slicesOf(orderCases(t, w, listen, host), daneCases(t, w, a, listen, host), stsCases(t, w, a, listen, host))
	w.start()
	b := made(t, folder(t), "")
	b.Env = []string{a.env()}
	h := startMade(t, b, "mx.bench.test", soon+"[dns]\nservers = [\""+w.DNS+"\"]\n[delivery]\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\n")
	for _, c := range cases {
		h.send("one@" + c.domain)
	}
	for _, c := range cases {
		t.Run(c.domain, func(t *testing.T) { h.with(t).meets(c) })
	}
	for _, c := range cases {
		if c.state == "deferred" {
			h.giveUp("one@" + c.domain)
		}
	}
	h.closed()
	for _, c := range cases {
		for _, s := range c.others {
			if s.count("one@"+c.domain) > 0 {
				t.Errorf("in the end %s went to %s", c.domain, s.addr)
			}
		}
	}
}

// giveUp ends the newest message to an address, unless it has ended, as soon as
// it is not being tried.
func (h *outHost) giveUp(address string) {
	h.t.Helper()
	eventually(h.t, "the end of what waits for "+address, func() bool {
		all := h.lives(address)
		if len(all) == 0 {
			return false
		}
		if state, _ := all[0].last(); state == "bounced" {
			return true
		}
		_, err := h.Run(h.t.Context(), "queue", "fail", all[0].ID, "--reason", "The test is over.", "--dir", h.Dir)
		return err == nil
	})
}

// meets checks what became of a case.
func (h *outHost) meets(c dnsCase) {
	to := "one@" + c.domain
	said := h.became(to, c.state)
	h.t.Log(said)
	for _, words := range c.says {
		if !strings.Contains(said, words) {
			h.t.Errorf("trace says %q, want %q in it", said, words)
		}
	}
	if c.sink != nil {
		for _, m := range c.sink.all() {
			if m.to[0] == to && m.tls != c.tls {
				h.t.Errorf("TLS is %v, want %v", m.tls, c.tls)
			}
		}
		if n := c.sink.count(to); n != 1 {
			h.t.Errorf("it arrived %d times", n)
		}
	}
	for _, s := range c.others {
		if s.count(to) > 0 {
			h.t.Errorf("it went to %s", s.addr)
		}
	}
	if c.state == "bounced" {
		if report := h.bounce(to); !strings.Contains(report, c.domain) || !strings.Contains(report, "Final-Recipient:") {
			h.t.Errorf("the report: %s", report)
		}
	}
}

type (
	listener = func(*tls.Certificate) *sink
	hostOf   = func(*sink) string
)

// orderCases are about which host is tried, without any TLS.
func orderCases(t *testing.T, w *world, listen listener, host hostOf) []dnsCase {
	one, two, implicit := listen(nil), listen(nil), listen(nil)
	w.add(plainZone, "order", "MX 20 two")
	w.add(plainZone, "order", "MX 10 one")
	w.add(plainZone, "fallback", "MX 10 dead")
	w.add(plainZone, "fallback", "MX 20 noaddress")
	w.add(plainZone, "fallback", "MX 30 two")
	w.add(plainZone, "null", "MX 0 .")
	w.add(plainZone, "noaddress", "TXT nothing")
	w.address(plainZone, "one", host(one))
	w.address(plainZone, "two", host(two))
	w.address(plainZone, "dead", "127.25.199.1")
	w.address(plainZone, "implicit", host(implicit))
	w.add(plainZone, "alias", "CNAME order")
	cases := []dnsCase{
		{domain: "order." + plainZone, state: "relayed", says: []string{"one." + plainZone}, sink: one, others: []*sink{two}},
		{domain: "fallback." + plainZone, state: "relayed", says: []string{"two." + plainZone}, sink: two},
		{domain: "alias." + plainZone, state: "relayed", sink: one},
		{domain: "implicit." + plainZone, state: "relayed", sink: implicit},
		{domain: "null." + plainZone, state: "bounced", says: []string{"null MX"}},
		{domain: "gone." + plainZone, state: "bounced", says: []string{"does not exist"}},
		{domain: "noaddress." + plainZone, state: "bounced", says: []string{"no address"}},
	}
	l, err := net.Listen("tcp", "[::1]:25")
	if err != nil {
		t.Logf("IPV6 MISSING: %v", err)
		return cases
	}
	l.Close()
	six := startSink(t, "[::1]:25", nil, sinkRules{})
	w.mx(plainZone, "six", "::1")
	return append(cases, dnsCase{domain: "six." + plainZone, state: "relayed", says: []string{"::1"}, sink: six})
}

// daneCases are about TLSA records (RFC 7672), and none where they could be.
func daneCases(t *testing.T, w *world, a *authority, listen listener, host hostOf) []dnsCase {
	pinned := (*authority)(nil).issued(t, "whoever.example") // usage 3 heeds no names
	ee, ta := listen(pinned), listen(a.issued(t, "mx.ta."+signedZone))
	lie, wrongName := listen((*authority)(nil).issued(t, "mx.lie."+signedZone)), listen(a.issued(t, "other.example"))
	bare, absent, bogus := listen(nil), listen((*authority)(nil).issued(t, "x.example")), listen(pinned)
	unsigned := listen((*authority)(nil).issued(t, "y.example"))
	for name, s := range map[string]*sink{"ee": ee, "ta": ta, "lie": lie, "name": wrongName, "bare": bare, "absent": absent} {
		w.mx(signedZone, name, host(s))
	}
	w.mx(bogusZone, "any", host(bogus))
	w.mx(plainZone, "unsigned", host(unsigned))
	w.add(signedZone, "_25._tcp.mx.ee", tlsa311(pinned))
	w.add(signedZone, "_25._tcp.mx.ta", tlsa201(a.cert))
	w.add(signedZone, "_25._tcp.mx.name", tlsa201(a.cert))
	w.add(signedZone, "_25._tcp.mx.lie", tlsa311(pinned))
	w.add(signedZone, "_25._tcp.mx.bare", tlsa311(pinned))
	w.add(plainZone, "_25._tcp.mx.unsigned", tlsa311(pinned)) // nobody vouches for it
	return []dnsCase{
		{domain: "ee." + signedZone, state: "relayed", says: []string{"TLS 1.3", "dane"}, sink: ee, tls: true},
		{domain: "ta." + signedZone, state: "relayed", says: []string{"TLS 1.3", "dane"}, sink: ta, tls: true},
		{domain: "lie." + signedZone, state: "deferred", others: []*sink{lie}},
		{domain: "name." + signedZone, state: "deferred", others: []*sink{wrongName}},
		{domain: "bare." + signedZone, state: "deferred", says: []string{"offers no TLS"}, others: []*sink{bare}},
		{domain: "absent." + signedZone, state: "relayed", says: []string{"TLS 1.3"}, sink: absent, tls: true},
		{domain: "any." + bogusZone, state: "deferred", says: []string{"DNS"}, others: []*sink{bogus}},
		{domain: "unsigned." + plainZone, state: "relayed", says: []string{"TLS 1.3"}, sink: unsigned, tls: true},
	}
}

// stsCases are about MTA-STS (RFC 8461).
func stsCases(t *testing.T, w *world, a *authority, listen listener, host hostOf) []dnsCase {
	nobody := (*authority)(nil)
	good, listed, testing := listen(a.issued(t, "mx.enforce."+plainZone)), listen(nobody.issued(t, "mx.unlisted."+plainZone)), listen(nobody.issued(t, "mx.testing."+plainZone))
	liar, bare, untrusted := listen(nobody.issued(t, "mx.liar."+plainZone)), listen(nil), listen(nobody.issued(t, "mx.untrusted."+plainZone))
	for name, s := range map[string]*sink{"enforce": good, "unlisted": listed, "testing": testing, "liar": liar, "bare": bare, "untrusted": untrusted} {
		w.mx(plainZone, name, host(s))
		w.add(plainZone, "_mta-sts."+name, `TXT "v=STSv1; id=20261122;"`)
		w.address(plainZone, "mta-sts."+name, stsAddr)
	}
	servePolicies(t, a, map[string]string{
		"mta-sts.enforce." + plainZone:   stsPolicy("enforce", "mx.enforce."+plainZone),
		"mta-sts.unlisted." + plainZone:  stsPolicy("enforce", "other."+plainZone),
		"mta-sts.testing." + plainZone:   stsPolicy("testing", "other."+plainZone),
		"mta-sts.liar." + plainZone:      stsPolicy("enforce", "*.liar."+plainZone),
		"mta-sts.bare." + plainZone:      stsPolicy("enforce", "mx.bare."+plainZone),
		"mta-sts.untrusted." + plainZone: stsPolicy("enforce", "other."+plainZone),
	}, "mta-sts.untrusted."+plainZone)
	return []dnsCase{
		{domain: "enforce." + plainZone, state: "relayed", says: []string{"TLS 1.3", "sts"}, sink: good, tls: true},
		{domain: "unlisted." + plainZone, state: "deferred", others: []*sink{listed}},
		{domain: "testing." + plainZone, state: "relayed", says: []string{"TLS 1.3"}, sink: testing, tls: true},
		{domain: "liar." + plainZone, state: "deferred", others: []*sink{liar}},
		{domain: "bare." + plainZone, state: "deferred", says: []string{"offers no TLS"}, others: []*sink{bare}},
		{domain: "untrusted." + plainZone, state: "relayed", says: []string{"TLS 1.3"}, sink: untrusted, tls: true},
	}
}

func slicesOf[T any](all ...[]T) (out []T) {
	for _, a := range all {
		out = append(out, a...)
	}
	return out
}
