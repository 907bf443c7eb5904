package tlspolicy

import (
	"errors"
	"testing"

	mdns "github.com/miekg/dns"
)

// TestWaive is RFC 8689 §4.2.2: what a domain asks for keeps nothing back, and
// its failures are known all the same.
func TestWaive(t *testing.T) {
	root := newAuthority(t, "root", nil)
	good, bad := root.issue(named("mx.example.org")), root.issue(named("wrong.example.org"))
	n := danger(t, tlsa(3, 1, 1, good.Leaf))
	p, _ := open(t, n, Options{Roots: root.pool()})
	dane, err := policy(t, p, signedMX(), "mx.example.org")
	if err != nil || !dane.Must() {
		t.Fatalf("got %v %v", dane, err)
	}
	waived := dane.Waive(nil)
	if waived.Must() || !dane.Must() || waived.Describe() != "dane (waived)" || waived.Type() != TypeTLSA {
		t.Errorf("got %+v", waived)
	}
	state, err := shake(t, waived.Config(), bad)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if f := waived.Check(state); f == nil || f.Type != CertificateNotTrusted {
		t.Errorf("got %v, want %s to be reported", f, CertificateNotTrusted)
	}
	if strict, f := waived.RequireTLS(); f != nil || strict.Kind != DANE {
		t.Errorf("got %v %v for REQUIRETLS", strict, f)
	}
	if o := p.Route("mx.example.org", Opportunistic).Waive(nil); o.Waived || o.Describe() != "opportunistic" {
		t.Errorf("got %+v, want nothing that is waived", o)
	}

	n.fail(tlsaName, mdns.TypeTLSA, mdns.RcodeServerFailure)
	_, err = policy(t, p, signedMX(), "mx.example.org")
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	waived = f.Policy.Waive(f)
	if waived.Must() || !waived.Waived || waived.Trouble != f || waived.Type() != TypeTLSA {
		t.Errorf("got %+v", waived)
	}
}

// TestWaive_notInPolicy: nor does a host that the MTA-STS policy does not have.
func TestWaive_notInPolicy(t *testing.T) {
	s := newStage(t)
	p, _ := open(t, s.names, s.o)
	_, err := policy(t, p, MX{Domain: "example.org"}, "other.example.org")
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	waived := f.Policy.Waive(f)
	state, err := shake(t, waived.Config(), s.root.issue(named("other.example.org")))
	if err != nil || waived.Must() || waived.Describe() != "mta-sts (waived)" {
		t.Fatalf("refused: %v, %+v", err, waived)
	}
	if got := waived.Check(state); got == nil || got.Type != ValidationFailure {
		t.Errorf("got %v, want that the host is not in the policy", got)
	}
}
