package tlspolicy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// TestPolicy_resumption: a session that a lenient policy let pass does not
// carry a certificate past a strict one.
func TestPolicy_resumption(t *testing.T) {
	root := newAuthority(t, "root", nil)
	bad := newAuthority(t, "other", nil).issue(named("mx.example.org"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := &tls.Config{Certificates: []tls.Certificate{*bad}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s := tls.Server(conn, server)
			_, _ = io.WriteString(s, "x") // the client reads its ticket on the way
			conn.Close()
		}
	}()
	sessions := tls.NewLRUClientSessionCache(4)
	shake := func(p *Policy) (bool, error) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := p.Config()
		c.ClientSessionCache = sessions
		s := tls.Client(conn, c)
		if err := s.HandshakeContext(t.Context()); err != nil {
			return false, err
		}
		_, err = io.ReadFull(s, make([]byte, 1))
		return s.ConnectionState().DidResume, err
	}
	clock := sim.NewClock(start())
	lenient := &Policy{Kind: Opportunistic, Host: "mx.example.org", clock: clock}
	for i, want := range []bool{false, true} {
		if resumed, err := shake(lenient); err != nil || resumed != want {
			t.Fatalf("handshake %d: resumed %v, %v", i, resumed, err)
		}
	}
	strict := &Policy{Kind: STS, Host: "mx.example.org", roots: root.pool(), clock: clock}
	if _, err := shake(strict); err == nil || strict.Failure(err).Type != CertificateNotTrusted {
		t.Errorf("got %v, want %s", err, CertificateNotTrusted)
	}
}

// alone is a DNS with one policy's record, whose host has an address.
type alone struct{}

func (alone) Lookup(_ context.Context, q dns.Question) dns.Answer {
	switch {
	case q.Name == "_mta-sts.example.org":
		return dns.Answer{Question: q, Texts: []string{"v=STSv1; id=1"}}
	case q.Name == "mta-sts.example.org" && q.Type == dns.A:
		return dns.Answer{Question: q, Addrs: []netip.Addr{netip.MustParseAddr("1.1.1.1")}}
	}
	return dns.Answer{Question: q, RCode: dns.NXDomain}
}

// TestPolicies_runs saves, and ends while a fetch hangs.
func TestPolicies_runs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := sim.NewDisk(1)
		hanging := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		p, err := New(Options{FS: disk, Path: "mta-sts", Dial: hanging}, alone{})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		p.cache.put(&entry{domain: "example.net", id: "1", policy: &STSPolicy{Mode: ModeTesting, MX: []string{"a.example"}, MaxAge: time.Hour}, fetched: now, used: now})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(2 * runEvery)
		if _, err := disk.Stat("mta-sts"); err != nil {
			t.Errorf("not saved: %v", err)
		}
		d, err := p.For(ctx, MX{Domain: "example.org"})
		if err != nil || d.trouble == nil || d.trouble.Type != STSPolicyFetchError {
			t.Errorf("got %+v %v, want a fetch that failed in time", d, err)
		}
		if took := time.Since(now) - 2*runEvery; took > fetchTimeout {
			t.Errorf("it took %s, want at most %s", took, fetchTimeout)
		}
		time.Sleep(failurePause)
		go func() { _, _ = p.For(ctx, MX{Domain: "example.org"}) }()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(fetchTimeout) // a dial may last
	})
}
