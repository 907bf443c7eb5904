package tlspolicy

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// expiredFor makes a certificate's time end an hour ago.
func expiredFor(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.DNSNames = []string{name}
		c.NotBefore, c.NotAfter = start().Add(-48*time.Hour), start().Add(-time.Hour)
	}
}

// newAuthorityLeaf has its name in the subject only.
func newAuthorityLeaf(a *authority) *tls.Certificate {
	return a.issue(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "mx.example.org"} })
}

// weakRoot signs with SHA-1.
func weakRoot(t *testing.T) *authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "weak"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = template
	a.cert = a.make(template, key)
	return a
}

// weak is signed with SHA-1.
func weak(t *testing.T) *tls.Certificate {
	return weakRoot(t).issue(func(c *x509.Certificate) {
		c.DNSNames, c.SignatureAlgorithm = []string{"mx.example.org"}, x509.SHA1WithRSA
	})
}

// TestPolicy_SHA1 has an authority that is trusted by all means sign with
// SHA-1: neither MTA-STS nor a TLSA record for the authority makes up for it,
// while one for the certificate itself does.
func TestPolicy_SHA1(t *testing.T) {
	root := weakRoot(t)
	cert := root.issue(func(c *x509.Certificate) {
		c.DNSNames, c.SignatureAlgorithm = []string{"mx.example.org"}, x509.SHA1WithRSA
	}, root)
	verify := &Policy{Kind: Verify, Host: "mx.example.org", roots: root.pool(), clock: sim.NewClock(start())}
	if _, err := shake(t, verify.Config(), cert); err == nil || verify.Failure(err).Type != CertificateNotTrusted {
		t.Errorf("by name: got %v, want %s", err, CertificateNotTrusted)
	}
	for record, passes := range map[string]bool{tlsa(2, 1, 1, root.cert): false, tlsa(3, 1, 1, cert.Leaf): true} {
		p, _ := open(t, danger(t, record), Options{})
		policy, err := policy(t, p, signedMX(), "mx.example.org")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shake(t, policy.Config(), cert); (err == nil) != passes {
			t.Errorf("TLSA %.5s: got %v, want it to pass: %v", record, err, passes)
		}
	}
}

func TestPolicy_kinds(t *testing.T) {
	root := newAuthority(t, "root", nil)
	good, bad := root.issue(named("mx.example.org")), newAuthority(t, "other", nil).issue(expiredFor("x.example"))
	p, _ := open(t, newNames(t), Options{Roots: root.pool()})
	for _, c := range []struct {
		kind       Kind
		must, pass bool
	}{{Opportunistic, false, true}, {Encrypt, true, true}, {Verify, true, false}} {
		policy := p.Route("MX.example.org.", c.kind)
		if policy.Kind != c.kind || policy.Must() != c.must || policy.Type() != TypeNone {
			t.Errorf("got %+v, want %s", policy, c.kind)
		}
		if _, err := shake(t, policy.Config(), good); err != nil {
			t.Errorf("%s: good certificate: %v", c.kind, err)
		}
		if _, err := shake(t, policy.Config(), bad); (err == nil) != c.pass {
			t.Errorf("%s: bad certificate: %v", c.kind, err)
		}
		strict, f := policy.RequireTLS()
		if f != nil || strict.Kind != Verify {
			t.Errorf("%s: got %v %v for REQUIRETLS, want %s", c.kind, strict, f, Verify)
		}
	}
	for authentic, want := range map[bool]bool{true: true, false: false} {
		policy, err := policy(t, p, MX{Domain: "example.org", Authentic: authentic}, "mx.example.org")
		if err == nil {
			_, f := policy.RequireTLS()
			if (f == nil) != want {
				t.Errorf("MX vouched for: %v: got %v for REQUIRETLS", authentic, f)
			}
		}
	}
}

func TestPolicies_oneFetch(t *testing.T) {
	s := newStage(t)
	p, _ := open(t, s.names, s.o)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			d, err := p.For(t.Context(), MX{Domain: "example.org"})
			if err != nil || d.sts == nil {
				t.Errorf("got %v %v, want a policy", d, err)
			}
		})
	}
	wg.Wait()
	if s.site.count() != 1 {
		t.Errorf("%d fetches, want 1", s.site.count())
	}
}

func TestPolicies_run(t *testing.T) {
	s := newStage(t)
	p, clock := open(t, s.names, s.o)
	if _, err := p.For(t.Context(), MX{Domain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(refreshAge)
	p.refresh(t.Context())
	if s.site.count() != 2 || p.Known()[0].Fetched != clock.Now() {
		t.Errorf("%d fetches, %v, want it fetched anew", s.site.count(), p.Known())
	}
	s.site.Close() // nobody there: what is remembered stays
	clock.Advance(refreshAge)
	p.refresh(t.Context())
	p.refresh(t.Context())
	if len(p.Known()) != 1 {
		t.Errorf("got %v, want the policy to stay", p.Known())
	}
	clock.Advance(7 * 24 * time.Hour)
	p.refresh(t.Context())
	if len(p.Known()) != 0 {
		t.Errorf("got %v, want none after its age", p.Known())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestPolicies_damagedFile(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"policies":[{"domain":"a b","id":"1"}]}`,
		`{"version":1,"policies":[{"domain":"a.example","id":"1","policy":["x"]}]}`} {
		disk := sim.NewDisk(1)
		if err := (sys.Snapshot{FS: disk, Path: "policies.json"}).Replace([]byte(text)); err != nil {
			t.Fatal(err)
		}
		p, _ := open(t, newNames(t), Options{FS: disk, Path: "policies.json"})
		if len(p.Known()) != 0 {
			t.Errorf("%q: got %v, want none", text, p.Known())
		}
		if _, err := disk.Stat("policies.json.aside"); err != nil {
			t.Errorf("%q: not set aside: %v", text, err)
		}
	}
}

// TestPolicies_powerCut cuts the power at every step of writing: the old
// policies are there afterwards, or the new ones.
func TestPolicies_powerCut(t *testing.T) {
	s := newStage(t)
	disk := sim.NewDisk(1)
	s.o.FS, s.o.Path = disk, "policies.json"
	p, _ := open(t, s.names, s.o)
	if _, err := p.For(t.Context(), MX{Domain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 20; n++ {
		p.mu.Lock()
		p.cache.dirty = true
		p.mu.Unlock()
		disk.CrashAt(n)
		_ = p.save()
		disk.Crash(sim.Any)
		found, err := p.file().Load(func(b []byte) error { _, err := decodeFile(b, start()); return err })
		if !found || err != nil {
			t.Fatalf("step %d: %v, %v", n, found, err)
		}
	}
	if _, err := disk.Open("none", os.O_RDONLY, 0); err == nil {
		t.Error("the disk makes files up")
	}
}

func domainOf(i int) message.Domain { return message.Domain(fmt.Sprintf("d%d.example", i)) }

func TestCache_bounded(t *testing.T) {
	c := newCache()
	long := strings.Repeat("a", 60) + ".example"
	for i := range entriesMax + 10 {
		c.put(&entry{domain: domainOf(i), id: "1", policy: &STSPolicy{Mode: ModeEnforce, MX: []string{long}, MaxAge: time.Hour}, fetched: start(), used: start().Add(time.Duration(i))})
		if i > failuresMax+10 {
			continue
		}
		c.fail(domainOf(i), &Failure{}, start())
	}
	if len(c.entries) != entriesMax || len(c.failures) > failuresMax || c.entries[domainOf(0)] != nil || c.octets > entriesOctetsMax {
		t.Errorf("got %d policies of %d octets, %d failures", len(c.entries), c.octets, len(c.failures))
	}
}
