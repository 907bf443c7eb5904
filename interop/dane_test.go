//go:build interop

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// signedDNS is nsd with zones that ldns-signzone has signed, and unbound that
// validates them.
type signedDNS struct {
	t        *testing.T
	dir      string
	nsd      netip.AddrPort
	resolver netip.AddrPort
	names    *exec.Cmd
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	var at netip.AddrPort
	eventually(t, "a port that is free", func() bool {
		pc, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", 10_000+mrand.IntN(20_000)))
		if err != nil {
			return false
		}
		at = netip.MustParseAddrPort(pc.LocalAddr().String())
		return pc.Close() == nil
	})
	return at
}

// serveSigned serves zones, by name; those whose name begins with "plain" are
// not signed. spoil changes a signed zone's text.
func serveSigned(t *testing.T, zones map[string]string, spoil func(zone, text string) string) *signedDNS {
	t.Helper()
	nsd, unbound := tool(t, "nsd"), tool(t, "unbound")
	keygen, signzone := tool(t, "ldns-keygen"), tool(t, "ldns-signzone")
	d := &signedDNS{t: t, dir: folder(t), nsd: freePort(t), resolver: freePort(t)}
	served := fmt.Sprintf("server:\n  ip-address: 127.0.0.1\n  port: %d\n  username: \"\"\n  zonesdir: %q\n  pidfile: \"\"\n  xfrdfile: \"\"\n  zonelistfile: %q\n  cookie-secret-file: \"\"\nremote-control:\n  control-enable: no\n",
		d.nsd.Port(), d.dir, filepath.Join(d.dir, "zones"))
	asked := fmt.Sprintf("server:\n  interface: 127.0.0.1\n  port: %d\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: \"\"\n  use-syslog: no\n  logfile: %q\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  local-zone: \"test.\" nodefault\n  val-log-level: 2\n",
		d.resolver.Port(), d.dir, filepath.Join(d.dir, "unbound.log"))
	stubs := ""
	for zone, records := range zones {
		file := filepath.Join(d.dir, zone+".zone")
		write(t, file, "$ORIGIN "+zone+".\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"+records)
		if !strings.HasPrefix(zone, "plain") {
			key := strings.TrimSpace(run(t, d.dir, keygen, "-a", "ECDSAP256SHA256", "-k", zone))
			run(t, d.dir, signzone, "-o", zone, "-f", file+".signed", file, key)
			file += ".signed"
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, spoil(zone, string(text)))
			asked += fmt.Sprintf("  trust-anchor-file: %q\n", filepath.Join(d.dir, key+".ds"))
		}
		served += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", zone, file)
		stubs += fmt.Sprintf("stub-zone:\n  name: %q\n  stub-addr: 127.0.0.1@%d\n", zone, d.nsd.Port())
	}
	write(t, filepath.Join(d.dir, "nsd.conf"), served)
	write(t, filepath.Join(d.dir, "unbound.conf"), asked+stubs+"remote-control:\n  control-enable: no\n")
	d.names = d.start(nsd, "-d", "-c", filepath.Join(d.dir, "nsd.conf"))
	d.start(unbound, "-d", "-c", filepath.Join(d.dir, "unbound.conf"))
	return d
}

func (d *signedDNS) start(program string, args ...string) *exec.Cmd {
	d.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = d.dir
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if d.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(d.dir, "unbound.log"))
			d.t.Logf("%s said:\n%s\n%s", filepath.Base(program), said.String(), log)
		}
	})
	return cmd
}

// stopNames takes the zones' server away.
func (d *signedDNS) stopNames() {
	d.t.Helper()
	if err := d.names.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	_ = d.names.Wait() // for its children, too: they hold its output
}

// ownCert makes a certificate that signs itself, with its TLSA record 3 1 1.
func ownCert(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fmt.Sprintf("3 1 1 %x", sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

// handshake holds a certificate against a policy.
func handshake(t *testing.T, p *tlspolicy.Policy, cert tls.Certificate) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
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

// TestDANE_unbound decides by what a validating resolver says of zones that
// others have signed and serve.
func TestDANE_unbound(t *testing.T) {
	cert, record := ownCert(t, "mx.signed.test")
	other, _ := ownCert(t, "mx.signed.test")
	records := "@ MX 10 mx\nmx A 203.0.113.5\n_25._tcp.mx TLSA " + record + "\nnone A 203.0.113.6\nlate A 203.0.113.7\n_25._tcp.late TLSA " + record + "\nalias CNAME mx\nout CNAME mx.plain.test.\n_25._tcp.out TLSA " + record + "\n"
	d := serveSigned(t, map[string]string{"signed.test": records, "broken.test": records, "plain.test": records}, func(zone, text string) string {
		if zone == "broken.test" { // other keys than those that were signed
			return strings.ReplaceAll(text, record[len(record)-8:], "00000000")
		}
		return text
	})
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{d.resolver}, Timeout: 5 * time.Second, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ask := func(name string, typ dns.Type) dns.Answer {
		return client.Lookup(t.Context(), dns.Question{Name: name, Type: typ})
	}
	eventually(t, "an answer of unbound", func() bool { a := ask("signed.test", dns.MX); return a.Status() == dns.Found })
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
		{"signed.test", "mx.signed.test", tlspolicy.DANE, "mx.signed.test"},
		{"signed.test", "alias.signed.test", tlspolicy.DANE, "mx.signed.test"},
		{"signed.test", "out.signed.test", tlspolicy.DANE, "out.signed.test"},
		{"signed.test", "none.signed.test", tlspolicy.Opportunistic, "none.signed.test"},
		{"signed.test", "mx.plain.test", tlspolicy.Opportunistic, "mx.plain.test"},
		{"plain.test", "mx.plain.test", tlspolicy.Opportunistic, "mx.plain.test"},
		{"plain.test", "mx.signed.test", tlspolicy.Opportunistic, "mx.signed.test"},
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
	if p, err := find("broken.test", "mx.broken.test"); !errors.As(err, &f) || f.Type != tlspolicy.DNSSECInvalid {
		t.Errorf("a forged TLSA record: got %+v %v, want %s", p, err, tlspolicy.DNSSECInvalid)
	}
	if p, err := find("broken.test", "none.broken.test"); err != nil || p.Kind != tlspolicy.Opportunistic {
		t.Errorf("beside a forged record: got %+v %v, want %s", p, err, tlspolicy.Opportunistic)
	}
	if a := ask("late.signed.test", dns.A); a.Status() != dns.Found || !a.Authentic {
		t.Errorf("got %+v, want an address that is vouched for", a)
	}
	d.stopNames() // the addresses are remembered
	if p, err := find("signed.test", "late.signed.test"); !errors.As(err, &f) || f.Type != tlspolicy.DNSSECInvalid {
		t.Errorf("nobody answers for TLSA: got %+v %v, want %s", p, err, tlspolicy.DNSSECInvalid)
	}
}
