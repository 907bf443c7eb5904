package delivery

import (
	"bytes"
	"crypto/tls"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestWaive_brokenDANE is RFC 8689 §4.2.2: a message that says TLS-Required: No
// reaches a domain whose DANE is broken, as a report of just that has to; no
// other message does, and the domain hears of each failure.
func TestWaive_brokenDANE(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(t *testing.T, w *world, h *host)
		trace string
		fails tlspolicy.Result
	}{
		"another's certificate": {func(t *testing.T, w *world, h *host) {
			h.tls = w.certificate(t, "mx.example.org", true)
			w.vouched(h, false)
		}, "dane (waived), TLS 1.3", tlspolicy.CertificateNotTrusted},
		"no TLS": {func(t *testing.T, w *world, h *host) {
			h.tls = w.certificate(t, "mx.example.org", true)
			w.vouched(h, true)
			h.tls = nil
		}, "dane (waived), none offered", tlspolicy.StartTLSNotSupported},
		"no handshake": {func(t *testing.T, w *world, h *host) {
			h.tls = w.certificate(t, "mx.example.org", true)
			w.vouched(h, true)
			h.tls = &tls.Config{}
		}, "dane (waived), handshake failed", tlspolicy.ValidationFailure},
		"STARTTLS refused": {func(t *testing.T, w *world, h *host) {
			h.tls = w.certificate(t, "mx.example.org", true)
			w.vouched(h, true)
			h.say["STARTTLS"] = "454 4.7.0 not now"
		}, "dane (waived), offered and refused", tlspolicy.ValidationFailure},
		"DNSSEC": {func(t *testing.T, w *world, h *host) {
			h.tls = w.certificate(t, "mx.example.org", true)
			w.authentic = true
			w.zone[dns.Question{Name: "_25._tcp.mx.example.org", Type: dns.TLSA}] = dns.Answer{RCode: dns.ServFail}
		}, "opportunistic (waived), TLS 1.3", tlspolicy.DNSSECInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			c.set(t, w, h)
			b := newBench(t, w, Options{Log: logTo(&log)})
			report := messageTo("reports@example.org")
			report.TLSOptional, report.Source = true, fate.System
			b.want(b.carry(report), fate.Relayed, queue.Up, c.trace)
			if !strings.Contains(log.String(), "TLS-Required: No") || !strings.Contains(log.String(), string(c.fails)) {
				t.Errorf("log: %s", &log)
			}
			if f := failed(b.seen[0]); f == nil || f.Type != c.fails || f.Policy.Type() != tlspolicy.TypeTLSA {
				t.Errorf("reported: %+v", f)
			}
			if !b.seen[0].Report {
				t.Error("the connection was not for a report")
			}
			if r := b.carry(messageTo("one@example.org")); r.Outcomes[0].State != fate.Deferred || len(h.got()) != 1 {
				t.Errorf("another message: %+v", r)
			}
			both := messageTo("one@example.org") // a queue's record may say so, and REQUIRETLS wins
			both.TLSOptional, both.RequireTLS = true, true
			if r := b.carry(both); r.Outcomes[0].State == fate.Relayed || len(h.got()) != 1 {
				t.Errorf("REQUIRETLS: %+v", r)
			}
		})
	}
}

// failed is what a report would say of a session.
func failed(s tlspolicy.Session) *tlspolicy.Failure {
	if s.Failure == nil {
		return s.Policy.Trouble
	}
	return s.Failure
}

// TestWaive_good: where all is well there is nothing to waive, but for the name
// of it.
func TestWaive_good(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "mx.example.org", true)
	w.vouched(h, true)
	var log bytes.Buffer
	b := newBench(t, w, Options{Log: logTo(&log)})
	m := messageTo("one@example.org")
	m.TLSOptional = true
	b.want(b.carry(m), fate.Relayed, queue.Up, "dane (waived), TLS 1.3")
	if failed(b.seen[0]) != nil || b.seen[0].Report || log.Len() > 0 {
		t.Errorf("%+v, %s", b.seen, &log)
	}
	// Its connection was not made for what is demanded of others.
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "dane, TLS 1.3")
	if h.sessions != 2 {
		t.Errorf("%d sessions", h.sessions)
	}
}

// TestWaive_notTheRoute: a route's tls=require and a login are the operator's.
func TestWaive_notTheRoute(t *testing.T) {
	w := newWorld()
	w.server("relay.example", "10.0.0.1", 25)
	b := newBench(t, w, Options{Default: &Hop{Host: "relay.example", TLS: Require}})
	m := messageTo("one@example.org")
	m.TLSOptional = true
	b.want(b.carry(m), fate.Deferred, queue.Down, "4.7.10", "verify, none offered")
}
