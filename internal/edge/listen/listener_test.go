package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// echo says who is there and then gives back what it gets.
func echo(_ context.Context, c *Conn) {
	fmt.Fprintf(c, "%s\n", c.RemoteAddr())
	io.Copy(c, c)
}

// firstLine reads the first line that a connection says, "" if it says none.
func firstLine(c net.Conn) string {
	s, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

func TestServe_caps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		f, _ := start(t, Options{
			MaxConns: 6, MaxPerAddress: 2, MaxPerNetwork: 3, Metrics: NewMetrics(reg), Part: "smtp",
			Refuse: func(r Reason) []byte { return []byte("421 " + r.String() + "\n") },
		}, echo)
		var open []net.Conn
		connect := func(from, want string) {
			t.Helper()
			c := f.connect(from)
			if got := firstLine(c); got != want {
				t.Errorf("%s: %q, want %q", from, got, want)
			}
			open = append(open, c)
		}
		connect("192.0.2.1:1", "192.0.2.1:1")
		connect("192.0.2.1:2", "192.0.2.1:2")
		connect("192.0.2.1:3", "421 address")
		connect("192.0.2.2:1", "192.0.2.2:1")
		connect("192.0.2.3:1", "421 network")
		connect("[::ffff:192.0.2.4]:1", "421 network")
		connect("192.0.3.1:1", "192.0.3.1:1")
		connect("[2001:db8::1]:1", "[2001:db8::1]:1")
		connect("[2001:db8::2]:1", "[2001:db8::2]:1")
		connect("192.0.4.1:1", "421 total")
		open[0].Close()
		synctest.Wait()
		connect("192.0.2.1:4", "192.0.2.1:4")
		connect("192.0.4.1:2", "421 total")
		for why, want := range map[string]float64{"address": 1, "network": 2, "total": 2} {
			if got := value(t, reg, "breakwater_listen_refused_total", why); got != want {
				t.Errorf("%v refused for %s, want %v", got, why, want)
			}
		}
		for _, c := range open {
			c.Close()
		}
		synctest.Wait()
		if got := value(t, reg, "breakwater_listen_connections", "smtp"); got != 0 {
			t.Errorf("%v open", got)
		}
	})
}

func TestServe_loopbackIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := start(t, Options{MaxPerNetwork: 1}, echo)
		for range 3 {
			c := f.connect("127.0.0.1:9")
			defer c.Close()
			if got := firstLine(c); got != "127.0.0.1:9" {
				t.Errorf("%q", got)
			}
		}
	})
}

func TestServe_proxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := start(t, Options{
			MaxPerAddress: 1, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Refuse: func(r Reason) []byte { return []byte(r.String() + "\n") },
		}, echo)
		header := func(source string) string {
			return string(AppendProxy(nil, ProxyHeader{netip.MustParseAddrPort(source), netip.MustParseAddrPort("192.0.2.9:25")}))
		}
		for _, c := range []struct{ from, say, want string }{
			{"10.1.1.1:1", header("192.0.2.1:7"), "192.0.2.1:7"},
			{"10.1.1.1:2", header("192.0.2.2:7"), "192.0.2.2:7"}, // the proxy itself is not counted
			{"10.1.1.1:3", header("192.0.2.1:8"), "address"},
			{"10.1.1.1:4", "PROXY UNKNOWN\r\n", "10.1.1.1:4"},
			{"10.1.1.1:5", "EHLO x\r\n", ""},
			{"10.1.1.1:6", "", ""}, // says nothing, for ten seconds
		} {
			conn := f.connect(c.from)
			defer conn.Close()
			go conn.Write([]byte(c.say))
			if got := firstLine(conn); got != c.want {
				t.Errorf("%s %q: %q", c.from, c.say, got)
			}
		}
		// From elsewhere a header is input like any.
		conn := f.connect("192.0.2.77:1")
		defer conn.Close()
		go conn.Write([]byte(header("192.0.2.1:7")))
		if got := firstLine(conn); got != "192.0.2.77:1" {
			t.Errorf("forged header: %q", got)
		}
	})
}

// A banned source is closed without a word, also behind a proxy; others are
// not.
func TestServe_banned(t *testing.T) {
	banned := netip.MustParseAddr("198.51.100.7")
	f, stop := start(t, Options{
		ProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Refuse:    func(Reason) []byte { return []byte("421 no\r\n") },
		Banned:    func(a netip.Addr) bool { return a == banned },
	}, echo)
	defer stop()
	for _, tt := range []struct{ from, send, want string }{
		{"198.51.100.7:1000", "", ""},
		{"10.0.0.1:1000", "PROXY TCP4 198.51.100.7 192.0.2.1 1000 25\r\n", ""},
		{"198.51.100.8:1000", "", "198.51.100.8:1000"},
		{"10.0.0.1:1000", "PROXY TCP4 198.51.100.8 192.0.2.1 1000 25\r\n", "198.51.100.8:1000"},
	} {
		c := f.connect(tt.from)
		go io.WriteString(c, tt.send)
		if got := firstLine(c); got != tt.want {
			t.Errorf("from %s %q: got %q, want %q", tt.from, tt.send, got, tt.want)
		}
		c.Close()
	}
}

func TestServe_survivesAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		f := newFakeListener()
		for range 12 {
			f.next <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		}
		near := f.connect("192.0.2.1:1")
		defer near.Close()
		l := newListener(Options{Metrics: NewMetrics(reg), Part: "smtp"}.withDefaults(), f)
		began := time.Now()
		go l.Serve(t.Context(), echo)
		if got := firstLine(near); got != "192.0.2.1:1" {
			t.Errorf("%q", got)
		}
		// 5, 10, … 640 ms, then a second each.
		if got := time.Since(began); got != 5275*time.Millisecond {
			t.Errorf("served after %v", got)
		}
		if got := value(t, reg, "breakwater_listen_accept_errors_total", "smtp"); got != 12 {
			t.Errorf("%v errors", got)
		}
		f.Close()
		near.Close()
		synctest.Wait()
	})
}

func TestServe_panicTouchesOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := prometheus.NewRegistry()
		f, _ := start(t, Options{Metrics: NewMetrics(reg), Part: "smtp", MaxPerAddress: 1, Log: slog.New(slog.NewTextHandler(&log, nil))},
			func(ctx context.Context, c *Conn) {
				if c.RemoteIP() == netip.MustParseAddr("192.0.2.66") {
					panic("oops")
				}
				echo(ctx, c)
			})
		good := f.connect("192.0.2.1:1")
		defer good.Close()
		for range 2 { // the second would be refused if the first were still counted
			bad := f.connect("192.0.2.66:1")
			if got := firstLine(bad); got != "" {
				t.Errorf("%q", got)
			}
			synctest.Wait()
		}
		if got := firstLine(good); got != "192.0.2.1:1" {
			t.Errorf("%q", got)
		}
		if got := value(t, reg, "breakwater_listen_panics_total", "smtp"); got != 2 {
			t.Errorf("%v panics", got)
		}
		if !strings.Contains(log.String(), "oops") || !strings.Contains(log.String(), "listener_test.go") {
			t.Errorf("log %q", log.String())
		}
	})
}

func TestServe_drains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polite, rude atomic.Int64
		began := time.Now()
		f, stop := start(t, Options{Drain: 20 * time.Second}, func(ctx context.Context, c *Conn) {
			if c.RemoteIP() == netip.MustParseAddr("192.0.2.1") {
				<-ctx.Done()
				polite.Store(int64(time.Since(began)))
				return
			}
			io.Copy(io.Discard, c) // does not look at its context
			rude.Store(int64(time.Since(began)))
		})
		defer f.connect("192.0.2.1:1").Close()
		defer f.connect("192.0.2.2:1").Close()
		time.Sleep(time.Second)
		stop()
		if p, r := time.Duration(polite.Load()), time.Duration(rude.Load()); p != time.Second || r != 21*time.Second {
			t.Errorf("ended after %v and %v", p, r)
		}
	})
}

func TestConn_StartTLS(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		cert := selfSigned(t, "mx.demo.test")
		second := selfSigned(t, "mx.demo.test")
		var current atomic.Pointer[tls.Certificate]
		current.Store(&cert)
		l, err := Listen(Options{
			Addr: "127.0.0.1:0", Implicit: implicit, Part: "smtp",
			TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil }},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- l.Serve(ctx, func(ctx context.Context, c *Conn) {
				if _, on := c.ConnectionState(); on != implicit || c.CanTLS() == implicit {
					t.Errorf("TLS is on: %v", on)
				}
				if !implicit {
					if err := c.StartTLS(ctx); err != nil {
						return
					}
				}
				if err := c.StartTLS(ctx); !errors.Is(err, ErrNoTLS) {
					t.Errorf("TLS within TLS: %v", err)
				}
				echo(ctx, c)
			})
		}()
		dial := func(config *tls.Config) error {
			c, err := tls.Dial("tcp", l.Addr().String(), config)
			if err != nil {
				return err
			}
			defer c.Close()
			if got := firstLine(c); got != c.LocalAddr().String() {
				t.Errorf("%q", got)
			}
			return nil
		}
		if err := dial(clientConfig("mx.demo.test", cert)); err != nil {
			t.Error(err)
		}
		current.Store(&second) // reloaded: the next handshake has it
		if err := dial(clientConfig("mx.demo.test", second)); err != nil {
			t.Error(err)
		}
		old := clientConfig("mx.demo.test", second)
		old.MaxVersion = tls.VersionTLS11
		old.MinVersion = tls.VersionTLS10
		if err := dial(old); err == nil {
			t.Error("TLS 1.1 was accepted")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestListen_errors(t *testing.T) {
	if _, err := Listen(Options{Addr: "127.0.0.1:0", Implicit: true}); err == nil {
		t.Error("TLS from the start without a certificate")
	}
	if _, err := Listen(Options{Addr: "256.0.0.1:0"}); err == nil {
		t.Error("no such address")
	}
}

func TestConn_ReadWhenReady(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(nc, Facts{ID: "x"})
	defer c.Close()
	held := 0
	get := func() []byte { held++; return make([]byte, 8) }
	put := func([]byte) { held-- }
	if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err, ok := c.ReadWhenReady(get, put); !ok || !errors.Is(err, os.ErrDeadlineExceeded) || held != 0 {
		t.Errorf("late: ok %v, err %v, %d buffers held", ok, err, held)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(client, "0123456789")
	got := ""
	for len(got) < 10 {
		b, n, err, ok := c.ReadWhenReady(get, put)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		got += string(b[:n])
		put(b)
	}
	if got != "0123456789" || held != 0 {
		t.Errorf("%q, %d buffers held", got, held)
	}
	client.Close()
	if _, _, err, ok := c.ReadWhenReady(get, put); !ok || !errors.Is(err, io.EOF) || held != 0 {
		t.Errorf("end: ok %v, err %v, %d buffers held", ok, err, held)
	}
	near, far := net.Pipe()
	defer far.Close()
	if _, _, _, ok := NewConn(near, Facts{}).ReadWhenReady(get, put); ok {
		t.Error("a pipe is no socket")
	}
}

func TestIDs_differ(t *testing.T) {
	ids := NewIDs()
	seen := map[string]bool{}
	for range 1000 {
		id := FormatID(ids.Next())
		if len(id) != 13 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestFormatID(t *testing.T) {
	for n, want := range map[uint64]string{0: "aaaaaaaaaaaaa", 1: "aaaaaaaaaaaac", 1<<64 - 1: "7777777777776", 1 << 4: "aaaaaaaaaaaba"} {
		if got := FormatID(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
