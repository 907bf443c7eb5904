package tlspolicy

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// tlsa is a record for a certificate, as text.
func tlsa(usage, selector, matching int, c *x509.Certificate) string {
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("%d %d %d %x", usage, selector, matching, data)
}

const tlsaName = "_25._tcp.mx.example.org."

// danger is a signed domain with a host and its TLSA records.
func danger(t *testing.T, records ...string) *names {
	n := newNames(t)
	n.add("mx.example.org. 60 IN A 203.0.113.5")
	n.sign("mx.example.org", "_25._tcp.mx.example.org")
	for _, r := range records {
		n.add(tlsaName + " 60 IN TLSA " + r)
	}
	return n
}

func signedMX() MX { return MX{Domain: "example.org", Authentic: true} }

// danePair is a TLSA record and a certificate.
type danePair struct {
	name   string
	record string
	cert   *tls.Certificate
	want   Result // "" is none
}

func danePairs(t *testing.T) []danePair {
	root := newAuthority(t, "root", nil)
	middle := newAuthority(t, "middle", root)
	other := newAuthority(t, "other", nil)
	good := middle.issue(named("mx.example.org"), middle, root)
	wrongName := middle.issue(named("mx.example.net"), middle, root)
	domainName := middle.issue(named("example.org"), middle, root)
	expired := middle.issue(func(c *x509.Certificate) {
		named("mx.example.org")(c)
		c.NotBefore, c.NotAfter = start().Add(-48*time.Hour), start().Add(-time.Hour)
	}, middle, root)
	future := middle.issue(func(c *x509.Certificate) {
		named("mx.example.org")(c)
		c.NotBefore = start().Add(time.Hour)
	}, middle, root)
	clientOnly := middle.issue(func(c *x509.Certificate) {
		named("mx.example.org")(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}, middle, root)
	noChain := middle.issue(named("mx.example.org"))
	wrongChain := middle.issue(named("mx.example.org"), other, root)
	stranger := other.issue(named("mx.example.org"), other)
	selfSigned := newAuthority(t, "mx.example.org", nil)
	own := &tls.Certificate{Certificate: [][]byte{selfSigned.cert.Raw}, PrivateKey: selfSigned.key}
	// A stranger's certificate with the true authority stuck on.
	stuck := other.issue(named("mx.example.org"), middle, root)

	return []danePair{
		{"EE, certificate, exact", tlsa(3, 0, 0, good.Leaf), good, ""},
		{"EE, certificate, SHA-256", tlsa(3, 0, 1, good.Leaf), good, ""},
		{"EE, certificate, SHA-512", tlsa(3, 0, 2, good.Leaf), good, ""},
		{"EE, key, exact", tlsa(3, 1, 0, good.Leaf), good, ""},
		{"EE, key, SHA-256", tlsa(3, 1, 1, good.Leaf), good, ""},
		{"EE, key, SHA-512", tlsa(3, 1, 2, good.Leaf), good, ""},
		{"EE, any name", tlsa(3, 1, 1, wrongName.Leaf), wrongName, ""},
		{"EE, expired", tlsa(3, 1, 1, expired.Leaf), expired, ""},
		{"EE, signs itself", tlsa(3, 1, 1, selfSigned.cert), own, ""},
		{"EE, of another", tlsa(3, 1, 1, good.Leaf), stranger, CertificateNotTrusted},
		{"EE, the authority's", tlsa(3, 1, 1, middle.cert), good, CertificateNotTrusted},
		{"TA, root, exact", tlsa(2, 0, 0, root.cert), good, ""},
		{"TA, root, SHA-256", tlsa(2, 0, 1, root.cert), good, ""},
		{"TA, middle, key, SHA-256", tlsa(2, 1, 1, middle.cert), good, ""},
		{"TA, middle, key, SHA-512", tlsa(2, 1, 2, middle.cert), good, ""},
		{"TA, middle, key, exact", tlsa(2, 1, 0, middle.cert), good, ""},
		{"TA, name of the domain", tlsa(2, 1, 1, middle.cert), domainName, ""},
		{"TA, not shown but in the record", tlsa(2, 0, 0, middle.cert), noChain, ""},
		{"TA, not shown", tlsa(2, 1, 1, middle.cert), noChain, CertificateNotTrusted},
		{"TA, wrong name", tlsa(2, 1, 1, middle.cert), wrongName, CertificateHostMismatch},
		{"TA, expired", tlsa(2, 1, 1, middle.cert), expired, CertificateExpired},
		{"TA, not yet", tlsa(2, 1, 1, middle.cert), future, CertificateExpired},
		{"TA, no server's", tlsa(2, 1, 1, middle.cert), clientOnly, CertificateNotTrusted},
		{"TA, wrong chain", tlsa(2, 1, 1, root.cert), wrongChain, CertificateNotTrusted},
		{"TA, of another", tlsa(2, 1, 1, middle.cert), stranger, CertificateNotTrusted},
		{"TA, stuck on", tlsa(2, 1, 1, middle.cert), stuck, CertificateNotTrusted},
		{"TA, the leaf itself", tlsa(2, 1, 1, selfSigned.cert), own, CertificateNotTrusted},
		{"TA, no authority", tlsa(2, 0, 0, good.Leaf), stranger, CertificateNotTrusted},
	}
}

func TestDANE_certificates(t *testing.T) {
	for _, c := range danePairs(t) {
		t.Run(c.name, func(t *testing.T) {
			p, _ := open(t, danger(t, c.record), Options{})
			policy, err := policy(t, p, signedMX(), "mx.example.org")
			if err != nil {
				t.Fatal(err)
			}
			if policy.Kind != DANE || !policy.Must() || policy.Type() != TypeTLSA || !slices.Equal(policy.Text, []string{c.record[:min(len(c.record), 6+2*tlsaQuotedMax)]}) {
				t.Errorf("got %s %v %s %q, want DANE", policy.Kind, policy.Must(), policy.Type(), policy.Text)
			}
			state, err := shake(t, policy.Config(), c.cert)
			if c.want == "" {
				if err != nil || policy.Check(state) != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if f := policy.Failure(err); err == nil || f.Type != c.want || f.Policy != policy {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestDANE_records(t *testing.T) {
	root := newAuthority(t, "root", nil)
	good := root.issue(named("mx.example.org"), root)
	bad := root.issue(named("mx.example.org"), root)
	for _, c := range []struct {
		name    string
		records []string
		kind    Kind
		passes  bool
	}{
		{"one of two", []string{tlsa(3, 1, 1, bad.Leaf), tlsa(3, 1, 1, good.Leaf)}, DANE, true},
		{"EE or TA", []string{tlsa(3, 1, 1, bad.Leaf), tlsa(2, 1, 1, root.cert)}, DANE, true},
		{"neither", []string{tlsa(3, 1, 1, bad.Leaf), tlsa(3, 1, 1, root.cert)}, DANE, false},
		{"usage 0", []string{tlsa(0, 1, 1, root.cert)}, Encrypt, true},
		{"usage 1", []string{tlsa(1, 1, 1, bad.Leaf)}, Encrypt, true},
		{"usage 1 beside 3", []string{tlsa(1, 1, 1, good.Leaf), tlsa(3, 1, 1, bad.Leaf)}, DANE, false},
		{"private usage", []string{"255 1 1 00"}, Encrypt, true},
		{"selector 2", []string{"3 2 1 " + fmt.Sprintf("%064x", 1)}, Encrypt, true},
		{"matching 3", []string{"3 1 3 " + fmt.Sprintf("%064x", 1)}, Encrypt, true},
		{"short digest", []string{"3 1 1 00ff"}, Encrypt, true},
		{"SHA-1 digest", []string{"3 1 1 " + fmt.Sprintf("%040x", 1)}, Encrypt, true},
		{"no certificate", []string{"3 0 0 00ff"}, Encrypt, true},
		{"no key", []string{"3 1 0 00ff"}, Encrypt, true},
		{"stronger digest counts", []string{tlsa(3, 1, 1, good.Leaf), tlsa(3, 1, 2, bad.Leaf)}, DANE, false},
		{"stronger digest of another kind", []string{tlsa(3, 1, 1, good.Leaf), tlsa(3, 0, 2, bad.Leaf)}, DANE, true},
		{"unusable stronger digest", []string{tlsa(3, 1, 1, good.Leaf), "3 1 2 00"}, DANE, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := open(t, danger(t, c.records...), Options{})
			policy, err := policy(t, p, signedMX(), "mx.example.org")
			if err != nil {
				t.Fatal(err)
			}
			if policy.Kind != c.kind || !policy.Must() || (policy.Trouble != nil) != (c.kind == Encrypt) {
				t.Errorf("got %s, must %v, trouble %v, want %s", policy.Kind, policy.Must(), policy.Trouble, c.kind)
			}
			if _, err := shake(t, policy.Config(), good); (err == nil) != c.passes {
				t.Errorf("got %v, want it to pass: %v", err, c.passes)
			}
		})
	}
}

// zone is a state of the DNS.
type zone struct {
	name   string
	mx     MX
	change func(n *names)
	want   Kind
	base   string
	fails  bool
}

func zones(cert *x509.Certificate) []zone {
	record := " 60 IN TLSA " + tlsa(3, 1, 1, cert)
	signed := signedMX()
	alias := func(n *names) {
		n.drop("mx.example.org", mdns.TypeA)
		n.add("mx.example.org. 60 IN CNAME host.example.net.", "host.example.net. 60 IN A 203.0.113.5")
	}
	return []zone{
		{"all signed", signed, nil, DANE, "mx.example.org", false},
		{"MX is not signed", MX{Domain: "example.org"}, nil, Opportunistic, "", false},
		{"address is not signed", signed, func(n *names) { n.signed["mx.example.org."] = false }, Opportunistic, "", false},
		{"TLSA is not signed", signed, func(n *names) { n.signed[tlsaName] = false }, Opportunistic, "", false},
		{"no TLSA", signed, func(n *names) { n.drop(tlsaName, mdns.TypeTLSA) }, Opportunistic, "", false},
		{"TLSA fails", signed, func(n *names) { n.fail(tlsaName, mdns.TypeTLSA, mdns.RcodeServerFailure) }, 0, "", true},
		{"TLSA is refused", signed, func(n *names) { n.fail(tlsaName, mdns.TypeTLSA, mdns.RcodeRefused) }, 0, "", true},
		{"TLSA is not implemented", signed, func(n *names) { n.fail(tlsaName, mdns.TypeTLSA, mdns.RcodeNotImplemented) }, 0, "", true},
		{"TLSA has no answer", signed, func(n *names) { n.mute(tlsaName, mdns.TypeTLSA) }, 0, "", true},
		{"TLSA fails in an unsigned zone", signed, func(n *names) {
			n.signed["mx.example.org."] = false
			n.fail(tlsaName, mdns.TypeTLSA, mdns.RcodeServerFailure)
		}, Opportunistic, "", false},
		{"addresses fail", signed, func(n *names) {
			n.fail("mx.example.org", mdns.TypeA, mdns.RcodeServerFailure)
			n.fail("mx.example.org", mdns.TypeAAAA, mdns.RcodeServerFailure)
		}, 0, "", true},
		{"one family fails", signed, func(n *names) { n.fail("mx.example.org", mdns.TypeAAAA, mdns.RcodeServerFailure) }, DANE, "mx.example.org", false},
		{"signed alias, TLSA at its end", signed, func(n *names) {
			alias(n)
			n.sign("host.example.net", "_25._tcp.host.example.net")
			n.add("_25._tcp.host.example.net." + record)
		}, DANE, "host.example.net", false},
		{"signed alias, TLSA at its start", signed, func(n *names) {
			alias(n)
			n.sign("host.example.net")
		}, DANE, "mx.example.org", false},
		{"signed alias, TLSA at its end fails", signed, func(n *names) {
			alias(n)
			n.sign("host.example.net")
			n.fail("_25._tcp.host.example.net", mdns.TypeTLSA, mdns.RcodeServerFailure)
		}, 0, "", true},
		{"signed alias to unsigned zone", signed, func(n *names) {
			alias(n)
			n.add("_25._tcp.host.example.net." + record)
		}, DANE, "mx.example.org", false},
		{"unsigned alias", signed, func(n *names) {
			alias(n)
			n.signed["mx.example.org."] = false
		}, Opportunistic, "", false},
		{"alias cannot be asked for", signed, func(n *names) {
			alias(n)
			n.fail("mx.example.org", mdns.TypeCNAME, mdns.RcodeServerFailure)
		}, 0, "", true},
		{"TLSA is an alias", signed, func(n *names) {
			n.drop(tlsaName, mdns.TypeTLSA)
			n.add(tlsaName+" 60 IN CNAME dane.example.org.", "dane.example.org."+record)
			n.sign("dane.example.org")
		}, DANE, "mx.example.org", false},
		{"TLSA is an alias to an unsigned zone", signed, func(n *names) {
			n.drop(tlsaName, mdns.TypeTLSA)
			n.add(tlsaName+" 60 IN CNAME dane.example.org.", "dane.example.org."+record)
		}, Opportunistic, "", false},
	}
}

func TestDANE_lookups(t *testing.T) {
	cert := newAuthority(t, "root", nil).cert
	for _, c := range zones(cert) {
		t.Run(c.name, func(t *testing.T) {
			n := danger(t, tlsa(3, 1, 1, cert))
			if c.change != nil {
				c.change(n)
			}
			p, _ := open(t, n, Options{})
			policy, err := policy(t, p, c.mx, "MX.example.org.")
			if c.fails {
				var f *Failure
				if !errors.As(err, &f) || f.Type != DNSSECInvalid || f.Policy.Type() != TypeTLSA {
					t.Fatalf("got %v %v, want %s", policy, err, DNSSECInvalid)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if policy.Kind != c.want || policy.Kind == DANE && policy.ServerName() != c.base {
				t.Errorf("got %s of %s, want %s of %s", policy.Kind, policy.ServerName(), c.want, c.base)
			}
		})
	}
}

func TestDANE_neverAsksInUnsignedZones(t *testing.T) {
	n := danger(t)
	n.signed["mx.example.org."] = false
	p, _ := open(t, n, Options{})
	if _, err := policy(t, p, signedMX(), "mx.example.org"); err != nil {
		t.Fatal(err)
	}
	if got := n.count(tlsaName, mdns.TypeTLSA); got != 0 {
		t.Errorf("asked %d times for TLSA, want 0: servers of unsigned zones may not know it", got)
	}
}

func TestDANE_port(t *testing.T) {
	n := danger(t)
	n.add("_2525._tcp.mx.example.org. 60 IN TLSA 3 1 1 " + fmt.Sprintf("%064x", 1))
	n.sign("_2525._tcp.mx.example.org")
	p, _ := open(t, n, Options{})
	mx := signedMX()
	mx.Port = 2525
	if policy, err := policy(t, p, mx, "mx.example.org"); err != nil || policy.Kind != DANE {
		t.Errorf("got %v %v, want DANE", policy, err)
	}
}

func TestDANE_off(t *testing.T) {
	n := danger(t, "3 1 1 "+fmt.Sprintf("%064x", 1))
	p, _ := open(t, n, Options{NoDANE: true})
	if policy, err := policy(t, p, signedMX(), "mx.example.org"); err != nil || policy.Kind != Opportunistic {
		t.Errorf("got %v %v, want opportunistic", policy, err)
	}
	p, _ = open(t, n, Options{})
	for _, host := range []string{"[203.0.113.5]", "203.0.113.5", "2001:db8::1"} {
		if policy, err := policy(t, p, signedMX(), host); err != nil || policy.Kind != Opportunistic {
			t.Errorf("%s: got %v %v, want opportunistic", host, policy, err)
		}
	}
}

func TestDANE_endOfContext(t *testing.T) {
	n := danger(t, "3 1 1 "+fmt.Sprintf("%064x", 1))
	n.mute("mx.example.org", mdns.TypeA)
	n.mute("mx.example.org", mdns.TypeAAAA)
	p, _ := open(t, n, Options{NoSTS: true})
	ctx, cancel := context.WithCancel(t.Context())
	d, err := p.For(ctx, signedMX())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := d.Host(ctx, "mx.example.org"); err != context.Canceled {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestDANE_names(t *testing.T) {
	root := newAuthority(t, "root", nil)
	n := danger(t, tlsa(2, 1, 1, root.cert))
	p, _ := open(t, n, Options{})
	mx := signedMX()
	mx.Target = "mail.example.com"
	policy, err := policy(t, p, mx, "mx.example.org")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"mx.example.org": true, "example.org": true, "mail.example.com": true, "*.example.org": true, "*.org": true, "mx.example.com": false,
	} {
		if _, err := shake(t, policy.Config(), root.issue(named(name), root)); (err == nil) != want {
			t.Errorf("%s: got %v, want it to pass: %v", name, err, want)
		}
	}
	if c := policy.Config(); c.ServerName != "mx.example.org" || c.MinVersion != tls.VersionTLS12 {
		t.Errorf("got %s and %x, want the base domain and TLS 1.2", c.ServerName, c.MinVersion)
	}
}

func TestPolicy_failureOfConnection(t *testing.T) {
	p := &Policy{Kind: DANE}
	if f := p.Failure(net.ErrClosed); f.Type != ValidationFailure || !errors.Is(f, net.ErrClosed) {
		t.Errorf("got %v, want a validation failure", f)
	}
	if f := p.NotOffered(); f.Type != StartTLSNotSupported {
		t.Errorf("got %v, want %s", f, StartTLSNotSupported)
	}
	if f := p.Check(tls.ConnectionState{}); f == nil || f.Type != CertificateNotTrusted {
		t.Errorf("got %v without a certificate, want a failure", f)
	}
}

// FuzzTLSA feeds records to all that looks at them.
func FuzzTLSA(f *testing.F) {
	key := newKey(f)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(3), uint8(1), uint8(0), string(spki))
	f.Add(uint8(2), uint8(0), uint8(0), "\x30\x03")
	f.Add(uint8(3), uint8(0), uint8(1), string(make([]byte, 32)))
	c := &x509.Certificate{Raw: []byte("certificate"), RawSubjectPublicKeyInfo: spki}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data string) {
		r := dns.TLSARecord{Usage: usage, Selector: selector, Matching: matching, Data: data}
		good := usable([]dns.TLSARecord{r, r})
		for _, g := range good {
			if g.Usage < usageTA || g.Usage > usageEE || g.Selector > selectorKey || g.Matching > matchingSHA512 {
				t.Fatalf("%v is usable", g)
			}
			_ = matches(g, c)
		}
		for _, line := range tlsaText([]dns.TLSARecord{r}) {
			if len(line) > 12+2*tlsaQuotedMax {
				t.Fatalf("a line of %d octets", len(line))
			}
		}
	})
}
