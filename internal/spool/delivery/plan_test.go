package delivery

import (
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// TestPlan_isTheWayThatCarryTakes asks for plans of domains of all kinds, and
// sees that nobody is connected to.
func TestPlan_isTheWayThatCarryTakes(t *testing.T) {
	w := newWorld()
	w.host("plain.example", "mx.plain.example", "192.0.2.1")
	w.mx("two.example", "20 b.two.example", "10 a.two.example")
	w.addr("a.two.example", "10.0.0.1")
	w.addr("b.two.example", "192.0.2.2", "2001:db8::2")
	w.mx("inside.example", "mx.inside.example")
	w.addr("mx.inside.example", "127.0.0.1")
	w.mx("null.example", "")
	w.zone[dns.Question{Name: "broken.example", Type: dns.MX}] = dns.Answer{RCode: dns.ServFail}
	w.addr("bare.example", "192.0.2.3")
	w.addr("hub.example", "192.0.2.9")
	b := newBench(t, w, Options{Routes: []Route{{Domains: []string{".route.example"}, Hop: Hop{Host: "hub.example", TLS: Require}}}})
	for domain, want := range map[string]string{
		"plain.example":   "mx.plain.example [192.0.2.1] opportunistic",
		"two.example":     "a.two.example [] opportunistic The address 10.0.0.1 is private|b.two.example [2001:db8::2 192.0.2.2] opportunistic",
		"inside.example":  "mx.inside.example [] opportunistic The address 127.0.0.1 is private|: None of its hosts",
		"null.example":    ": takes no mail (null MX). final",
		"missing.example": ": does not exist. final",
		"broken.example":  ": The DNS did not say",
		"bare.example":    "bare.example [192.0.2.3] opportunistic",
		"a.route.example": "smtp://hub.example:25 hub.example [192.0.2.9] verify",
		"[192.0.2.7]":     "[192.0.2.7] [192.0.2.7] opportunistic",
		"[127.0.0.1]":     "[127.0.0.1] [] opportunistic The address 127.0.0.1 is private|: None",
	} {
		p := b.d.Plan(t.Context(), message.Domain(domain))
		got := p.NextHop + " "
		for _, h := range p.Hosts {
			var addrs []string
			for _, a := range h.Addresses {
				addrs = append(addrs, a.String())
			}
			got += h.Host + " [" + strings.Join(addrs, " ") + "] " + h.TLS + " " + h.Problem + "|"
		}
		got += ": " + p.Problem
		if p.Final {
			got += " final"
		}
		for part := range strings.SplitSeq(want, "|") {
			head, tail, _ := strings.Cut(part, ": ")
			if !strings.Contains(got, head) || !strings.Contains(got, tail) {
				t.Errorf("%s: %s\nwant: %s", domain, got, part)
			}
		}
	}
	if len(w.dials) != 0 {
		t.Errorf("dialled %v", w.dials)
	}
}
