//go:build interop

package interop

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// handshake holds a certificate against a policy.
func handshake(t *testing.T, p *tlspolicy.Policy, cert *tls.Certificate) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), p.Config())
	if err == nil {
		c.Close()
	}
	return err
}

// pinnedWorld has the same hosts in each zone, with a TLSA record that is forged
// in bogusZone.
func pinnedWorld(t *testing.T, record string) *world {
	t.Helper()
	w := newWorld(t)
	for zone := range w.records {
		w.add(zone, "@", "MX 10 mx")
		for name, r := range map[string]string{
			"mx": "A 203.0.113.5", "_25._tcp.mx": record, "none": "A 203.0.113.6", "late": "A 203.0.113.7", "_25._tcp.late": record,
			"alias": "CNAME mx", "out": "CNAME mx." + plainZone + ".", "_25._tcp.out": record,
		} {
			w.add(zone, name, r)
		}
	}
	w.spoil = strings.NewReplacer(record[len(record)-8:], "00000000") // other keys than those that were signed
	w.start()
	return w
}

// TestDANE_unbound decides by what a validating resolver says of zones that
// others have signed and serve.
func TestDANE_unbound(t *testing.T) {
	t.Parallel()
	cert, other := (*authority)(nil).issued(t, "mx."+signedZone), (*authority)(nil).issued(t, "mx."+signedZone)
	w := pinnedWorld(t, tlsa311(cert))
	// The last question is answered by nobody, and waits for all of it.
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(w.DNS)}, Timeout: 10 * time.Second, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ask := func(name string, typ dns.Type) dns.Answer {
		return client.Lookup(t.Context(), dns.Question{Name: name, Type: typ})
	}
	policies, err := tlspolicy.New(tlspolicy.Options{NoSTS: true}, client)
	if err != nil {
		t.Fatal(err)
	}
	find := func(domain, host string) (*tlspolicy.Policy, error) {
		mx := ask(domain, dns.MX)
		decision, err := policies.For(t.Context(), tlspolicy.MX{Domain: message.Domain(domain), Authentic: mx.Authentic})
		if err != nil {
			t.Fatal(err)
		}
		return decision.Host(t.Context(), host)
	}
	for _, c := range []struct {
		domain, host string
		kind         tlspolicy.Kind
		name         string
	}{
		{signedZone, "mx." + signedZone, tlspolicy.DANE, "mx." + signedZone},
		{signedZone, "alias." + signedZone, tlspolicy.DANE, "mx." + signedZone},
		{signedZone, "out." + signedZone, tlspolicy.DANE, "out." + signedZone},
		{signedZone, "none." + signedZone, tlspolicy.Opportunistic, "none." + signedZone},
		{signedZone, "mx." + plainZone, tlspolicy.Opportunistic, "mx." + plainZone},
		{plainZone, "mx." + plainZone, tlspolicy.Opportunistic, "mx." + plainZone},
		{plainZone, "mx." + signedZone, tlspolicy.Opportunistic, "mx." + signedZone},
	} {
		p, err := find(c.domain, c.host)
		if err != nil || p.Kind != c.kind || p.ServerName() != c.name {
			t.Fatalf("%s of %s: got %+v %v, want %s of %s", c.host, c.domain, p, err, c.kind, c.name)
		}
		if err := handshake(t, p, cert); err != nil {
			t.Errorf("%s of %s: the right certificate is refused: %v", c.host, c.domain, err)
		}
		if err := handshake(t, p, other); (err != nil) != (c.kind == tlspolicy.DANE) {
			t.Errorf("%s of %s: another certificate: %v", c.host, c.domain, err)
		}
	}
	var f *tlspolicy.Failure
	if p, err := find(bogusZone, "mx."+bogusZone); !errors.As(err, &f) || f.Type != tlspolicy.DNSSECInvalid {
		t.Errorf("a forged TLSA record: got %+v %v, want %s", p, err, tlspolicy.DNSSECInvalid)
	}
	if p, err := find(bogusZone, "none."+bogusZone); err != nil || p.Kind != tlspolicy.Opportunistic {
		t.Errorf("beside a forged record: got %+v %v, want %s", p, err, tlspolicy.Opportunistic)
	}
	if a := ask("late."+signedZone, dns.A); a.Status() != dns.Found || !a.Authentic {
		t.Errorf("got %+v, want an address that is vouched for", a)
	}
	if err := w.nsd.Stop(seenWait); err != nil { // the addresses are remembered
		t.Fatal(err)
	}
	if p, err := find(signedZone, "late."+signedZone); !errors.As(err, &f) || f.Type != tlspolicy.DNSSECInvalid {
		t.Errorf("nobody answers for TLSA: got %+v %v, want %s", p, err, tlspolicy.DNSSECInvalid)
	}
}
