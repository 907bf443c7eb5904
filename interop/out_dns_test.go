//go:build interop

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/proc"
)

// The parts of the little Internet of these tests.
const (
	nsdAddr     = "127.0.53.1"
	unboundAddr = "127.0.53.2"
	stsAddr     = "127.25.200.1" // every mta-sts host
	plainZone   = "plain.test"   // unsigned
	signedZone  = "signed.test"  // signed, with a trust anchor
	bogusZone   = "bogus.test"   // the same, then tampered with
)

// authority signs certificates that a host started with env trusts.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// newAuthority makes one whose certificate lies in dir.
func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(dir, "authority.pem")}
	der, key := certificate(t, "authority", nil)
	a.key = key
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	public(t, a.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return a
}

func (a *authority) env() string { return "SSL_CERT_FILE=" + a.file }

// certificate makes a certificate for a name; parent nil: it signs itself.
func certificate(t *testing.T, name string, parent *authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.cert, parent.key
	} else {
		template.IsCA, template.DNSNames = true, nil
		template.KeyUsage |= x509.KeyUsageCertSign
		if name != "authority" {
			template.IsCA, template.DNSNames = false, []string{name}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// issued gives a certificate of the authority, with the authority's own in the
// chain; of nobody if a is nil.
func (a *authority) issued(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	der, key := certificate(t, name, a)
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if a != nil {
		c.Certificate = append(c.Certificate, a.cert.Raw)
	}
	var err error
	if c.Leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// tlsa311 is the record that pins a certificate's key, 201 one that names an
// issuer by its certificate (RFC 6698 §2.1).
func tlsa311(c *tls.Certificate) string {
	return fmt.Sprintf("TLSA 3 1 1 %x", sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo))
}

func tlsa201(c *x509.Certificate) string { return fmt.Sprintf("TLSA 2 0 1 %x", sha256.Sum256(c.Raw)) }

// world is nsd with zones, and unbound in front of it.
type world struct {
	t       *testing.T
	dir     string
	records map[string][]string // of each zone
	spoil   *strings.Replacer   // what it changes in bogusZone when that has been signed
	nsd     *proc.Child
	DNS     string // the resolver's address
}

func newWorld(t *testing.T) *world {
	t.Helper()
	for _, name := range []string{"nsd", "unbound", "ldns-keygen", "ldns-signzone"} {
		tool(t, name)
	}
	return &world{t: t, dir: folder(t), records: map[string][]string{plainZone: nil, signedZone: nil, bogusZone: nil},
		spoil: strings.NewReplacer("127.25.", "127.26.")}
}

// add adds a record with a name inside of a zone.
func (w *world) add(zone, name, record string) {
	w.records[zone] = append(w.records[zone], name+" 300 IN "+record)
}

// mx adds a domain in a zone with its only MX host, mx.DOMAIN at addr.
func (w *world) mx(zone, name, addr string) {
	w.add(zone, name, "MX 10 mx."+name)
	w.address(zone, "mx."+name, addr)
}

func (w *world) address(zone, name, addr string) {
	if strings.Contains(addr, ":") {
		w.add(zone, name, "AAAA "+addr)
		return
	}
	w.add(zone, name, "A "+addr)
}

// start serves the zones.
func (w *world) start() {
	w.t.Helper()
	names, resolver := dnsPort(w.t, nsdAddr), dnsPort(w.t, unboundAddr)
	w.DNS = resolver.String()
	nsd := fmt.Sprintf("server:\n ip-address: %s@%d\n username: \"\"\n chroot: \"\"\n zonesdir: %q\n pidfile: %q\n xfrdfile: %q\n zonelistfile: %q\n database: \"\"\n server-count: 1\nremote-control:\n control-enable: no\n",
		nsdAddr, names.Port(), w.dir, w.dir+"/nsd.pid", w.dir+"/xfrd", w.dir+"/zonelist")
	unbound := fmt.Sprintf("server:\n interface: %s@%d\n access-control: 127.0.0.0/8 allow\n username: \"\"\n chroot: \"\"\n directory: %q\n pidfile: %q\n use-syslog: no\n do-daemonize: no\n do-not-query-localhost: no\n local-zone: \"test.\" nodefault\n do-ip6: no\n module-config: \"validator iterator\"\n",
		unboundAddr, resolver.Port(), w.dir, w.dir+"/unbound.pid")
	stubs := ""
	for zone := range w.records {
		file, anchor := w.zone(zone)
		nsd += fmt.Sprintf("zone:\n name: %q\n zonefile: %q\n", zone, file)
		if anchor != "" {
			unbound += fmt.Sprintf(" trust-anchor-file: %q\n", anchor)
		}
		stubs += fmt.Sprintf("stub-zone:\n name: %q\n stub-addr: %s@%d\n stub-prime: no\n", zone, nsdAddr, names.Port())
	}
	public(w.t, w.dir+"/nsd.conf", nsd)
	public(w.t, w.dir+"/unbound.conf", unbound+"remote-control:\n control-enable: no\n"+stubs)
	w.nsd = w.run("nsd", "-d", "-c", w.dir+"/nsd.conf")
	w.run("unbound", "-d", "-c", w.dir+"/unbound.conf")
	r := resolverAt(w.DNS)
	eventually(w.t, "the resolver answers", func() bool {
		_, err := r.LookupHost(w.t.Context(), "ns."+plainZone+".")
		return err == nil
	})
}

// run starts a server that ends with the test.
func (w *world) run(name string, args ...string) *proc.Child {
	w.t.Helper()
	c, err := proc.Start(name, filepath.Join(w.dir, name+".log"), exec.Command(tool(w.t, name), args...))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Stop(seenWait); err != nil {
			w.t.Logf("%s: %v", name, err)
		}
		if w.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(w.dir, name+".log"))
			w.t.Logf("%s says:\n%s", name, text[max(0, len(text)-1500):])
		}
	})
	return c
}

// zone writes a zone, and signs it if it is to be.
func (w *world) zone(zone string) (file, anchor string) {
	w.t.Helper()
	text := fmt.Sprintf("$ORIGIN %s.\n@ 300 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 300 IN NS ns\nns 300 IN A %s\n%s\n", zone, nsdAddr, strings.Join(w.records[zone], "\n"))
	file = filepath.Join(w.dir, zone+".zone")
	public(w.t, file, text)
	if zone == plainZone {
		return file, ""
	}
	key := strings.TrimSpace(run(w.t, w.dir, tool(w.t, "ldns-keygen"), "-a", "ECDSAP256SHA256", "-k", zone))
	// ldns writes names of other zones that a record leads to out whole.
	run(w.t, w.dir, tool(w.t, "ldns-signzone"), "-n", "-f", file+".signed", file, key)
	if zone == bogusZone {
		signed, err := os.ReadFile(file + ".signed")
		if err != nil {
			w.t.Fatal(err)
		}
		public(w.t, file+".signed", w.spoil.Replace(string(signed)))
	}
	return file + ".signed", filepath.Join(w.dir, key+".key")
}

// resolverAt asks one server.
func resolverAt(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: dialerTo(addr)}
}

// startMade starts a host that was made, by another name and configuration.
func startMade(t *testing.T, b *peers.Breakwater, hostname, config string) *outHost {
	t.Helper()
	b.Hostname = hostname
	if err := b.Configure(config); err != nil {
		t.Fatal(err)
	}
	started(t, b)
	return &outHost{b, t}
}

// policies serves MTA-STS policies over HTTPS, by the host that is asked for.
// untrusted hosts have a certificate that nobody vouches for.
func servePolicies(t *testing.T, a *authority, policies map[string]string, untrusted string) {
	t.Helper()
	l, err := net.Listen("tcp", stsAddr+":443")
	if err != nil {
		t.Fatal(err)
	}
	certs := map[string]*tls.Certificate{}
	for host := range policies {
		by := a
		if host == untrusted {
			by = nil
		}
		certs[host] = by.issued(t, host)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/mta-sts.txt" || policies[r.Host] == "" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, policies[r.Host])
		}),
		TLSConfig: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := certs[h.ServerName]; c != nil {
				return c, nil
			}
			return nil, fmt.Errorf("no host %q", h.ServerName)
		}},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // it would tell of clients that rightly go
	}
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { s.Close() })
}
