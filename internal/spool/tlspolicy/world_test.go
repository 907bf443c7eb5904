package tlspolicy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// names is a name server whose answers tests choose.
type names struct {
	t       *testing.T
	mu      sync.Mutex
	records map[mdns.Question][]mdns.RR
	signed  map[string]bool // names whose answers are vouched for
	rcodes  map[mdns.Question]int
	silent  map[mdns.Question]bool
	asked   map[mdns.Question]int
}

func newNames(t *testing.T) *names {
	return &names{
		t: t, records: make(map[mdns.Question][]mdns.RR), signed: make(map[string]bool), rcodes: make(map[mdns.Question]int),
		silent: make(map[mdns.Question]bool), asked: make(map[mdns.Question]int),
	}
}

func question(name string, typ uint16) mdns.Question {
	return mdns.Question{Name: mdns.CanonicalName(name), Qtype: typ, Qclass: mdns.ClassINET}
}

// add adds records in presentation form.
func (n *names) add(records ...string) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, text := range records {
		rr, err := mdns.NewRR(text)
		if err != nil {
			n.t.Fatal(err)
		}
		q := question(rr.Header().Name, rr.Header().Rrtype)
		n.records[q] = append(n.records[q], rr)
	}
}

func (n *names) sign(names ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		n.signed[mdns.CanonicalName(name)] = true
	}
}

func (n *names) fail(name string, typ uint16, rcode int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rcodes[question(name, typ)] = rcode
}

// mend undoes fail.
func (n *names) mend(name string, typ uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.rcodes, question(name, typ))
}

func (n *names) mute(name string, typ uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[question(name, typ)] = true
}

// drop takes the records of a name and type away.
func (n *names) drop(name string, typ uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.records, question(name, typ))
}

func (n *names) count(name string, typ uint16) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[question(name, typ)]
}

func (n *names) answer(w mdns.ResponseWriter, m *mdns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := new(mdns.Msg).SetReply(m)
	q := question(m.Question[0].Name, m.Question[0].Qtype)
	n.asked[q]++
	if n.silent[q] {
		return
	}
	r.AuthenticatedData = true
	r.Rcode = mdns.RcodeNameError
	for name := q.Name; name != ""; {
		r.AuthenticatedData = r.AuthenticatedData && n.signed[name]
		next := ""
		for have, rrs := range n.records {
			if have.Name != name {
				continue
			}
			r.Rcode = mdns.RcodeSuccess
			switch {
			case have.Qtype == q.Qtype:
				r.Answer = append(r.Answer, rrs...)
			case have.Qtype == mdns.TypeCNAME:
				r.Answer = append(r.Answer, rrs...)
				next = mdns.CanonicalName(rrs[0].(*mdns.CNAME).Target)
			}
		}
		name = next
	}
	if rcode, ok := n.rcodes[q]; ok {
		r.Rcode, r.Answer = rcode, nil
	}
	_ = w.WriteMsg(r)
}

// client runs the server and gives a client of it, which believes what it
// says of DNSSEC.
func (n *names) client() *dns.Client {
	n.t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	s := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(n.answer)}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { _ = s.ActivateAndServe() }()
	<-started
	n.t.Cleanup(func() { _ = s.Shutdown() })
	c, err := dns.New(dns.Options{
		Servers: []netip.AddrPort{netip.MustParseAddrPort(pc.LocalAddr().String())}, Timeout: 300 * time.Millisecond, Tries: 1,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// start is when the tests' clocks start: within the certificates' time.
func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAuthority makes one that signs itself, or that above signs.
func newAuthority(t *testing.T, name string, above *authority) *authority {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{t: t, key: newKey(t)}
	if above == nil {
		above = &authority{t: t, key: a.key, cert: template}
	}
	a.cert = above.make(template, a.key)
	return a
}

func (a *authority) make(template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = start().Add(-24 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = start().Add(90 * 24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// issue makes a host's certificate with the chain above it.
func (a *authority) issue(change func(*x509.Certificate), chain ...*authority) *tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	change(template)
	leaf := a.make(template, key)
	c := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, above := range chain {
		c.Certificate = append(c.Certificate, above.cert.Raw)
	}
	return c
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

// shake does a handshake and gives the client's state and error.
func shake(t *testing.T, client *tls.Config, server *tls.Certificate) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*server}})
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, client)
	err = c.HandshakeContext(t.Context())
	state := c.ConnectionState()
	conn.Close()
	<-done
	return state, err
}

// site serves MTA-STS policies.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	policy  string
	handler http.HandlerFunc // instead of the policy
	hits    int
}

// newSite serves with a certificate.
func newSite(t *testing.T, cert *tls.Certificate) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.hits++
		policy, handler := s.policy, s.handler
		s.mu.Unlock()
		if handler != nil {
			handler(w, r)
			return
		}
		if r.URL.Path != "/.well-known/mta-sts.txt" || !strings.HasPrefix(r.Host, "mta-sts.") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, policy)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *site) set(policy string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = policy
}

func (s *site) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *site) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits
}

// dial takes any address to the site.
func (s *site) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if to.Port() != 443 {
		return nil, net.UnknownNetworkError(to.String())
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
}

// open makes Policies over a name server.
func open(t *testing.T, n *names, o Options) (*Policies, *sim.Clock) {
	t.Helper()
	clock := sim.NewClock(start())
	o.Clock = clock
	if o.Path != "" && o.FS == nil {
		o.FS = sim.NewDisk(1)
	}
	p, err := New(o, n.client())
	if err != nil {
		t.Fatal(err)
	}
	return p, clock
}

// policy gives the policy for a host.
func policy(t *testing.T, p *Policies, mx MX, host string) (*Policy, error) {
	t.Helper()
	d, err := p.For(t.Context(), mx)
	if err != nil {
		t.Fatal(err)
	}
	return d.Host(t.Context(), host)
}
