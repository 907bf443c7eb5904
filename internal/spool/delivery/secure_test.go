package delivery

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// certificate makes one for a name, by the authority of the world or, if it is
// a stranger's, by itself.
func (w *world) certificate(t testing.TB, name string, stranger bool) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if w.ca == nil {
		w.caKey = key
		w.ca = &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), KeyUsage: x509.KeyUsageCertSign,
		}
		w.roots = x509.NewCertPool()
		der, err := x509.CreateCertificate(rand.Reader, w.ca, w.ca, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		w.roots.AddCert(ca)
		w.ca = ca
		return w.certificate(t, name, stranger)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	parent, by := w.ca, w.caKey
	if stranger {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// vouched makes the DNS authentic, and gives a host a TLSA record for its
// certificate, or for another.
func (w *world) vouched(h *host, right bool) {
	sum := sha256.Sum256([]byte("another"))
	if right {
		sum = sha256.Sum256(h.tls.Certificates[0].Certificate[0])
	}
	w.zone[dns.Question{Name: "_25._tcp." + h.name, Type: dns.TLSA}] = dns.Answer{
		TLSA: []dns.TLSARecord{{Usage: 3, Selector: 0, Matching: 1, Data: string(sum[:])}},
	}
	w.authentic = true
}

func TestSecure_opportunistic(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "another.example", true)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "opportunistic, TLS 1.3")
	if len(b.seen) != 1 || b.seen[0].Failure != nil || b.seen[0].Helo != "mx.example.org" || b.seen[0].Remote.String() != "192.0.2.1" {
		t.Errorf("%+v", b.seen)
	}
	if got := h.said(); strings.Count(got, "EHLO") != 2 {
		t.Errorf("%q", got)
	}
}

// TestSecure_fallsBack: nobody asked for TLS, so that mail goes without where
// it does not work, and the host is not bothered with it again for a while.
func TestSecure_fallsBack(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = &tls.Config{} // no certificate: each handshake fails
	b := newBench(t, w, Options{MaxMessages: 1})
	for range 2 {
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "opportunistic, handshake failed")
	}
	if h.sessions != 3 || len(b.seen) != 1 || b.seen[0].Failure == nil {
		t.Errorf("%d sessions, %d reports", h.sessions, len(b.seen))
	}
}

// TestSecure_fallsBackInVain: a host that takes nothing in the clear refuses
// what we fell back to, and no mail goes back for a handshake that failed once.
func TestSecure_fallsBackInVain(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = &tls.Config{}
	h.say["MAIL"] = "530 5.7.0 Must issue a STARTTLS command first|"
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Busy, "530 5.7.0", "under TLS only")
	h.tls = w.certificate(t, "mx.example.org", true)
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "opportunistic, TLS 1.3")
}

func TestSecure_refusedSTARTTLS(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "mx.example.org", false)
	h.say["STARTTLS"] = "454 4.7.0 not now"
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "offered and refused")
}

// TestSecure_injected: what comes in the clear after STARTTLS is nobody's.
func TestSecure_injected(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "mx.example.org", false)
	h.say["STARTTLS"] = `220 go\n250-evil\n250 SIZE 1`
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "octets in the clear after STARTTLS")
	if len(h.got()) != 0 {
		t.Error("it was taken")
	}
}

func TestSecure_dane(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "another.example", true)
	w.vouched(h, true)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "dane, TLS 1.3")
	w.vouched(h, false)
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.7.5 TLS with the host failed", "dane, failed")
	h.tls = nil
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.7.10 The host offers no TLS, which is required (dane).")
	if len(h.got()) != 1 {
		t.Errorf("%d messages", len(h.got()))
	}
	if n := len(b.seen); n != 3 || b.seen[0].Failure != nil || b.seen[1].Failure == nil || b.seen[2].Failure == nil || b.seen[2].Failure.Type != tlspolicy.StartTLSNotSupported {
		t.Errorf("%d reports", n)
	}
	// Another host of the domain that is as it should be is asked then.
	w.mx("example.org", "mx.example.org", "good.example")
	good := w.server("good.example", "192.0.2.2", 25)
	good.tls = w.certificate(t, "good.example", true)
	w.vouched(good, true)
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "good.example [192.0.2.2]:25", "dane, TLS 1.3")
}

// TestSecure_requireTLS is RFC 8689: the host's name is vouched for, its
// certificate good, and it promises to do the same.
func TestSecure_requireTLS(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "mx.example.org", false)
	w.vouched(h, true)
	b := newBench(t, w, Options{})
	m := messageTo("one@example.org")
	m.RequireTLS = true
	b.want(b.carry(m), fate.Bounced, queue.Up, "5.7.30", "does not offer REQUIRETLS")
	h.offers = append(h.offers, "REQUIRETLS")
	b.d.pool.closeIdle()
	b.want(b.carry(m), fate.Relayed, queue.Up, "dane, TLS 1.3")
	if got := h.got(); len(got) != 1 || !strings.HasSuffix(got[0].mail, " REQUIRETLS") {
		t.Errorf("%+v", got)
	}
	h.tls = nil
	b.want(b.carry(m), fate.Deferred, queue.Down, "4.7.10")
}

func TestHop_login(t *testing.T) {
	w := newWorld()
	h := w.server("relay.example", "10.0.0.1", 587)
	h.tls = w.certificate(t, "relay.example", false)
	h.offers = append(h.offers, "AUTH PLAIN LOGIN")
	hop := Hop{Host: "relay.example", Port: 587, User: "user", Password: "secret"}
	b := newBench(t, w, Options{Default: &hop})
	b.want(b.carry(messageTo("one@example.org", "two@example.net")), fate.Relayed, queue.Up, "relay.example [10.0.0.1]:587", "verify, TLS 1.3")
	if got := h.got(); len(got) != 1 || len(got[0].rcpt) != 2 || !strings.Contains(h.said(), "AUTH PLAIN AHVzZXIAc2VjcmV0") {
		t.Errorf("%+v", got)
	}
	h.say["AUTH"] = "535 5.7.8 no"
	b.d.pool.closeIdle()
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "535 5.7.8 no", "refused our login")
	// The password goes to nobody else, and to nobody in the clear.
	before := strings.Count(h.said(), "AUTH")
	h.tls = w.certificate(t, "relay.example", true)
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.7.5")
	h.tls = nil
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.7.10")
	if strings.Count(h.said(), "AUTH") != before || len(h.got()) != 1 {
		t.Error("the login was shown")
	}
}

func TestHop_implicitTLS(t *testing.T) {
	w := newWorld()
	h := w.server("relay.example", "10.0.0.1", 465)
	h.tls, h.implicit = w.certificate(t, "relay.example", false), true
	b := newBench(t, w, Options{Default: &Hop{Scheme: SMTPS, Host: "relay.example"}})
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "encrypt, TLS 1.3")
	if strings.Contains(h.said(), "STARTTLS") {
		t.Error(h.said())
	}
	h.tls = &tls.Config{}
	b.d.pool.closeIdle()
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.7.5")
}

// TestPool_keepsApart: a connection that was made for less is not used for
// more.
func TestPool_keepsApart(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	w.mx("example.net", "mx.example.org")
	h.tls = w.certificate(t, "mx.example.org", true)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "opportunistic")
	b.want(b.carry(messageTo("one@example.net")), fate.Relayed, queue.Up, "opportunistic")
	if h.sessions != 1 {
		t.Errorf("%d sessions", h.sessions)
	}
	w.vouched(h, true)
	b.want(b.carry(messageTo("one@example.net")), fate.Relayed, queue.Up, "dane")
	if h.sessions != 2 {
		t.Errorf("%d sessions", h.sessions)
	}
}

func TestSession_neverLogsBodiesOrSecrets(t *testing.T) {
	var log bytes.Buffer
	w := newWorld()
	h := w.server("relay.example", "10.0.0.1", 587)
	h.tls = w.certificate(t, "relay.example", false)
	h.offers = append(h.offers, "AUTH PLAIN")
	h.say["AUTH"] = "535 5.7.8 no"
	hop := Hop{Host: "relay.example", Port: 587, User: "user", Password: "very-secret"}
	b := newBench(t, w, Options{Default: &hop, Log: logTo(&log)})
	r := b.carry(messageTo("one@example.org"))
	if strings.Contains(log.String()+r.Why+r.Outcomes[0].Reason+hop.String(), "very-secret") {
		t.Error("the password is in a log or reason")
	}
}

// TestSecure_requireTLSAlone: where a message alone demands TLS, what is wrong
// with a host's is no fault of the host for other mail, and no delay mends it
// (RFC 8689 §4.2.1).
func TestSecure_requireTLSAlone(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(w *world, h *host)
		state  fate.State
		health queue.Health
		words  []string
	}{
		"a stranger's certificate": {func(w *world, h *host) { h.tls = w.certificate(t, "mx.example.org", true) },
			fate.Bounced, queue.Up, []string{"5.7.10", "demands TLS all the way", "certificate"}},
		"no TLS":                 {func(*world, *host) {}, fate.Bounced, queue.Up, []string{"5.7.10", "offers no TLS"}},
		"a handshake that fails": {func(_ *world, h *host) { h.tls = &tls.Config{} }, fate.Deferred, queue.Busy, []string{"4.7.5"}},
		"STARTTLS refused": {func(w *world, h *host) {
			h.tls, h.say["STARTTLS"] = w.certificate(t, "mx.example.org", false), "454 4.7.0 not now"
		}, fate.Deferred, queue.Up, []string{"454 4.7.0"}},
		"STARTTLS unanswered": {func(w *world, h *host) {
			h.tls, h.say["STARTTLS"] = w.certificate(t, "mx.example.org", false), "drop"
		}, fate.Deferred, queue.Busy, []string{"4.7.5"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			h.offers = append(h.offers, "REQUIRETLS")
			w.authentic = true
			c.set(w, h)
			b := newBench(t, w, Options{})
			m := messageTo("one@example.org")
			m.RequireTLS = true
			b.want(b.carry(m), c.state, c.health, c.words...)
			b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
		})
	}
}
