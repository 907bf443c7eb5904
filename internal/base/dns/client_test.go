package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// serve runs a name server over UDP and TCP and gives its address.
func serve(t *testing.T, handle func(w mdns.ResponseWriter, m *mdns.Msg)) netip.AddrPort {
	t.Helper()
	// A port that is free for both.
	var pc net.PacketConn
	var l net.Listener
	for range 20 {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if pc == nil {
		t.Fatal("no port that is free for UDP and TCP")
	}
	for _, s := range []*mdns.Server{{PacketConn: pc}, {Listener: l}} {
		s.Handler = mdns.HandlerFunc(handle)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// silent gives the address of a server that never answers.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

func record(t *testing.T, text string) mdns.RR {
	t.Helper()
	rr, err := mdns.NewRR(text)
	if err != nil {
		t.Error(err)
	}
	return rr
}

func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const shortTry = 100 * time.Millisecond

func TestClient_lookup(t *testing.T) {
	big := strings.Repeat("x", 200)
	server := serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
		r := new(mdns.Msg).SetReply(m)
		switch m.Question[0].Name {
		case "a.example.":
			r.AuthenticatedData = true
			r.Answer = append(r.Answer, record(t, "a.example. 60 IN A 192.0.2.1"))
		case "big.example.":
			for range 20 {
				r.Answer = append(r.Answer, record(t, `big.example. 60 IN TXT "`+big+`"`))
			}
			if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
				r.Truncate(512)
			}
		default:
			r.Rcode = mdns.RcodeNameError
		}
		_ = w.WriteMsg(r)
	})
	c := open(t, Options{Servers: []netip.AddrPort{server}})
	if a := c.Lookup(t.Context(), Question{"A.example.", A}); a.Failed() || len(a.Addrs) != 1 || !a.Authentic || a.Name != "a.example" {
		t.Errorf("got %+v, want an authentic address of a.example", a)
	}
	if a := c.Lookup(t.Context(), Question{"big.example", TXT}); a.Failed() || len(a.Texts) != 20 || a.Texts[19] != big {
		t.Errorf("got %d texts, %v, want 20 over TCP", len(a.Texts), a.Err)
	}
	if a := c.Lookup(t.Context(), Question{"none.example", MX}); a.Err != nil || a.RCode != NXDomain {
		t.Errorf("got %v %v, want NXDOMAIN", a.RCode, a.Err)
	}
	if a := c.Lookup(t.Context(), Question{"a..b", A}); a.Err != ErrName {
		t.Errorf("got %v, want %v", a.Err, ErrName)
	}
	if s := c.Stats(); s.Asked != 3 || s.Answered != 3 || s.TCP != 1 || s.InFlight != 0 {
		t.Errorf("got %+v, want 3 asked and answered, 1 over TCP", s)
	}
}

func TestClient_nextServer(t *testing.T) {
	good := func(w mdns.ResponseWriter, m *mdns.Msg) {
		r := new(mdns.Msg).SetReply(m)
		r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 60 IN A 192.0.2.1"))
		_ = w.WriteMsg(r)
	}
	cases := []struct {
		name  string
		first func(t *testing.T) netip.AddrPort
	}{
		{"silent", silent},
		{"refusing packets", func(t *testing.T) netip.AddrPort {
			l, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return netip.MustParseAddrPort(l.LocalAddr().String())
		}},
		{"SERVFAIL", func(t *testing.T) netip.AddrPort {
			return serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
				_ = w.WriteMsg(new(mdns.Msg).SetRcode(m, mdns.RcodeServerFailure))
			})
		}},
		{"malformed", func(t *testing.T) netip.AddrPort {
			return serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
				r := new(mdns.Msg).SetReply(m)
				r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 60 IN A 192.0.2.66"))
				p, _ := r.Pack()
				_, _ = w.Write(p[:len(p)-2])
			})
		}},
		{"wrong id", func(t *testing.T) netip.AddrPort {
			return serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
				r := new(mdns.Msg).SetReply(m)
				r.Id++
				r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 60 IN A 192.0.2.66"))
				_ = w.WriteMsg(r)
			})
		}},
		{"truncated, and closed over TCP", func(t *testing.T) netip.AddrPort {
			return serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
				if _, udp := w.RemoteAddr().(*net.UDPAddr); !udp {
					w.Close()
					return
				}
				r := new(mdns.Msg).SetReply(m)
				r.Truncated = true
				_ = w.WriteMsg(r)
			})
		}},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			c := open(t, Options{Servers: []netip.AddrPort{k.first(t), serve(t, good)}, Timeout: shortTry})
			for i := range 8 {
				a := c.Lookup(t.Context(), Question{fmt.Sprintf("a%d.example", i), A})
				if a.Failed() || len(a.Addrs) != 1 || a.Addrs[0] != netip.MustParseAddr("192.0.2.1") {
					t.Errorf("got %+v, want the second server's address", a)
				}
			}
		})
	}
}

func TestClient_lateAnswer(t *testing.T) {
	var mu sync.Mutex
	var held *mdns.Msg
	server := serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		r := new(mdns.Msg).SetReply(m)
		if held == nil || held.Id == m.Id { // answered when the second try comes, too late
			r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 60 IN A 192.0.2.66"))
			held = r
			return
		}
		_ = w.WriteMsg(held)
		r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 60 IN A 192.0.2.1"))
		_ = w.WriteMsg(r)
	})
	c := open(t, Options{Servers: []netip.AddrPort{server}, Timeout: shortTry})
	a := c.Lookup(t.Context(), Question{"a.example", A})
	if a.Failed() || len(a.Addrs) != 1 || a.Addrs[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("got %+v, want the second try's answer", a)
	}
}

func TestClient_nobodyAnswers(t *testing.T) {
	c := open(t, Options{Servers: []netip.AddrPort{silent(t)}, Timeout: 20 * time.Millisecond, InFlight: 100})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := c.Lookup(ctx, Question{"a.example", A}); !errors.Is(a.Err, context.Canceled) {
		t.Errorf("got %v, want %v", a.Err, context.Canceled)
	}
	var wg sync.WaitGroup
	var timeouts, busy atomic.Int32
	for i := range 200 {
		wg.Add(1)
		c.Ask(Question{fmt.Sprintf("b%d.example", i), A}, func(a Answer) {
			defer wg.Done()
			switch a.Err {
			case ErrTimeout:
				timeouts.Add(1)
			case ErrBusy:
				busy.Add(1)
			default:
				t.Errorf("got %v, want a timeout or busy", a)
			}
		})
	}
	wg.Wait()
	if timeouts.Load() < 99 || busy.Load() < 1 {
		t.Errorf("got %d timeouts and %d busy, want 99 and some", timeouts.Load(), busy.Load())
	}
	if s := c.Stats(); s.InFlight != 0 {
		t.Errorf("got %d in flight, want 0", s.InFlight)
	}
}

func TestClient_close(t *testing.T) {
	c := open(t, Options{Servers: []netip.AddrPort{silent(t)}})
	answers := make(chan Answer, 3)
	c.Ask(Question{"a.example", A}, func(a Answer) { answers <- a })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.Ask(Question{"b.example", A}, func(a Answer) { answers <- a })
	for range 2 {
		if a := <-answers; a.Err != ErrClosed {
			t.Errorf("got %v, want %v", a.Err, ErrClosed)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second Close: got %v, want nil", err)
	}
}

// TestClient_manyTCP has more truncated answers than tries over TCP at once.
func TestClient_manyTCP(t *testing.T) {
	server := serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
		r := new(mdns.Msg).SetReply(m)
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			r.Truncated = true
		} else {
			r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 60 IN A 192.0.2.1"))
		}
		_ = w.WriteMsg(r)
	})
	c := open(t, Options{Servers: []netip.AddrPort{server}, Timeout: 10 * time.Second})
	var wg sync.WaitGroup
	for i := range 4 * tcpMax {
		wg.Add(1)
		c.Ask(Question{fmt.Sprintf("a%d.example", i), A}, func(a Answer) {
			defer wg.Done()
			if a.Failed() || len(a.Addrs) != 1 {
				t.Errorf("got %+v, want an address", a)
			}
		})
	}
	wg.Wait()
}

// TestClient_storm asks from many goroutines a server that loses, delays and
// doubles, and closes the client in the middle of it.
func TestClient_storm(t *testing.T) {
	var n atomic.Uint32
	server := serve(t, func(w mdns.ResponseWriter, m *mdns.Msg) {
		r := new(mdns.Msg).SetReply(m)
		r.Answer = append(r.Answer, record(t, m.Question[0].Name+" 1 IN A 192.0.2.1"))
		switch n.Add(1) % 16 {
		case 0:
			return
		case 1:
			_ = w.WriteMsg(r)
		case 2:
			r = new(mdns.Msg).SetReply(m)
			r.Truncated = true
		}
		_ = w.WriteMsg(r)
	})
	reg := prometheus.NewRegistry()
	c := open(t, Options{Servers: []netip.AddrPort{server, server}, Timeout: 20 * time.Millisecond, CacheEntries: 50, Metrics: NewMetrics(reg)})
	var askers, calls sync.WaitGroup
	var answered atomic.Int32
	for g := range 8 {
		askers.Go(func() {
			for i := range 500 {
				calls.Add(1)
				c.Ask(Question{fmt.Sprintf("a%d.example", (g*500+i)%700), A}, func(Answer) {
					answered.Add(1)
					calls.Done()
				})
			}
		})
	}
	askers.Go(func() {
		c.Lookup(t.Context(), Question{"last.example", A})
		c.Close()
	})
	askers.Wait()
	calls.Wait()
	if answered.Load() != 4000 {
		t.Errorf("got %d answers, want 4000", answered.Load())
	}
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

// TestClient_recovers shows that a client whose server was away asks again.
func TestClient_recovers(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(pc.LocalAddr().String())
	pc.Close()
	c := open(t, Options{Servers: []netip.AddrPort{addr}, Timeout: 20 * time.Millisecond})
	for range downMisses {
		if a := c.Lookup(t.Context(), Question{"a.example", A}); a.Err != ErrTimeout {
			t.Errorf("got %v, want %v", a.Err, ErrTimeout)
		}
	}
	if pc, err = net.ListenPacket("udp", addr.String()); err != nil {
		t.Skipf("PORT TAKEN by another program meanwhile: %v", err)
	}
	defer pc.Close()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			binary.BigEndian.PutUint16(b[2:], flagAnswer|uint16(NXDomain))
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	deadline := time.Now().Add(10 * time.Second)
	for {
		a := c.Lookup(t.Context(), Question{"b.example", A})
		if a.Err == nil && a.RCode == NXDomain {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v, want NXDOMAIN of the server that is back", a)
		}
	}
}

func TestNew_options(t *testing.T) {
	bad := []Options{{Timeout: -1}, {Tries: -1}, {InFlight: -1}, {CacheEntries: -1}, {Servers: []netip.AddrPort{{}}}}
	for _, o := range bad {
		if c, err := New(o); err == nil {
			c.Close()
			t.Errorf("New(%+v): got no error", o)
		}
	}
}

func TestSystemServers(t *testing.T) {
	disk := sim.NewDisk(1)
	if got := SystemServers(disk); len(got) != 1 || got[0] != thisHost() {
		t.Errorf("without a file: got %v, want %v", got, thisHost())
	}
	if err := disk.MkdirAll("/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := disk.Open(resolvConf, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("nameserver 192.0.2.53\n"), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var fs sys.FS = disk
	if got := SystemServers(fs); len(got) != 1 || got[0] != netip.MustParseAddrPort("192.0.2.53:53") {
		t.Errorf("got %v, want 192.0.2.53:53", got)
	}
}
