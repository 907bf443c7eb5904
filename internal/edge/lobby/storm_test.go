package lobby

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
)

// stormGuest plays client i of a storm; it returns an error where the lobby
// does not do what it must for a client of that kind.
func stormGuest(l *Lobby, i int) error {
	kind := i % 10
	from := fmt.Sprintf("127.16.0.%d", 1+i%250) // the good
	if kind >= 2 {
		from = fmt.Sprintf("127.%d.1.%d", 16+i/250%100, 1+i%250)
	}
	conn, err := dialFrom(l, from)
	if err != nil {
		return err
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	r := bufio.NewReader(c)
	talk := func(want string, commands ...string) error {
		if got, err := reply(r); !strings.HasPrefix(got, "220") {
			return fmt.Errorf("banner %q: %w", got, err)
		}
		got := ""
		for _, command := range commands {
			if got, err = say(c, r, command); err != nil {
				return fmt.Errorf("%s: %q: %w", command, got, err)
			}
		}
		if !strings.HasPrefix(got, want) {
			return fmt.Errorf("got %q, want %s", got, want)
		}
		return nil
	}
	dialogue := []string{"EHLO a.example", "MAIL FROM:<a@a.example>", "RCPT TO:<one@demo.test>"}
	switch kind {
	case 0, 1:
		return talk("221", append(dialogue, "QUIT")...)
	case 2, 3:
		return talk("550", dialogue...)
	case 4: // resets somewhere
		for n := i / 10 % 4; n > 0; n-- {
			fmt.Fprint(c, dialogue[3-n]+"\r\n")
		}
		return c.SetLinger(0)
	case 5: // octet by octet
		for _, b := range []byte("EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@demo.test>\r\nQUIT\r\n") {
			if _, err := c.Write([]byte{b}); err != nil {
				return err
			}
		}
		return ends(r, "221")
	case 6: // closes its side and listens
		fmt.Fprint(c, strings.Join(dialogue, "\r\n")+"\r\n")
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return ends(r, "550")
	case 7: // no SMTP at all
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return ends(r, "421")
	case 8: // much of nothing
		fmt.Fprint(c, strings.Repeat("x", 64<<10)+"\x00\r\nQUIT\r\n")
		return ends(r, "221")
	}
	return nil // silent, and gone
}

// ends reads to the end and checks the last reply.
func ends(r io.Reader, want string) error {
	b, err := io.ReadAll(r)
	lines := strings.Split(strings.TrimSpace(string(b)), "\r\n")
	if err != nil || !strings.HasPrefix(lines[len(lines)-1], want) {
		return fmt.Errorf("got %q, %w, want %s at the end", b, err, want)
	}
	return nil
}

// TestSockets_storm lets clients of all kinds come at once. Each gets what is
// due to it, and at the end nothing is left of any: no guest, no descriptor,
// no goroutine.
func TestSockets_storm(t *testing.T) {
	shells(t, func(t *testing.T, portable bool) {
		count := 3000
		if portable || testing.Short() {
			count = 1000
		}
		runtime.GC()
		files, goroutines := descriptors(t), runtime.NumGoroutine()
		gate := newFakeGate()
		gate.late = func(done func()) { go done() }
		gate.wait = 5 * time.Millisecond
		s := newSessions("mx.demo.test")
		var passed atomic.Int64
		l, stop := serve(t, Options{Portable: portable, Loops: 2, Hostname: "mx.demo.test", Machine: s.s.MachineOptions(), Stutter: Stutter{Off: true}}, gate, func(o Handover) {
			passed.Add(1)
			gate.passed(&o)
			s.admit(o)
		})
		var wg sync.WaitGroup
		gates := make(chan struct{}, 400) // clients at a time
		for i := range count {
			gates <- struct{}{}
			wg.Go(func() {
				defer func() { <-gates }()
				if err := stormGuest(l, i); err != nil {
					t.Errorf("client %d of kind %d: %v", i, i%10, err)
				}
			})
			if i%100 == 0 {
				l.Guests(10)
			}
		}
		wg.Wait()
		expect(t, "an empty lobby", func() bool {
			st := l.Stats()
			return st.Guests == 0 && st.Sessions == 0 && st.Arrived == uint64(count)
		})
		if st := l.Stats(); st.Price != 0 || st.Passed < uint64(count)/5 || gate.inside() != 0 {
			t.Errorf("got %+v, %d at the gate", st, gate.inside())
		}
		stop()
		s.wg.Wait()
		expect(t, "the descriptors and goroutines of before", func() bool {
			return descriptors(t) <= files && runtime.NumGoroutine() <= goroutines
		})
	})
}

// TestSockets_stop: those who are there when the host stops are told so.
func TestSockets_stop(t *testing.T) {
	shells(t, func(t *testing.T, portable bool) {
		gate := newFakeGate()
		l, stop := serve(t, Options{Portable: portable, Hostname: "mx.demo.test"}, gate, func(Handover) {})
		conn, r := mustDial(t, l, "127.16.0.1")
		if _, err := reply(r); err != nil {
			t.Fatal(err)
		}
		if got := l.Guests(5); len(got) != 1 || got[0].Addr.String() != "127.16.0.1" || got[0].State != "talking" {
			t.Errorf("got %+v", got)
		}
		stop()
		if got, err := reply(r); !strings.HasPrefix(got, "421 4.3.2 ") {
			t.Errorf("got %q, %v, want 421", got, err)
		}
		if _, err := dialFrom(l, "127.16.0.1"); err == nil {
			t.Error("a stopped lobby is still to be reached")
		}
		conn.Close()
		if got := gate.lastLeft(t).Ended; got != policy.EndedStopped {
			t.Errorf("got %q, want stopped", got)
		}
	})
}

// TestSockets_neverReads: who does not read is not read from, and goes when
// its time is up.
func TestSockets_neverReads(t *testing.T) {
	shells(t, func(t *testing.T, portable bool) {
		gate := newFakeGate()
		o := Options{Portable: portable, Loops: 1, Hostname: "mx.demo.test", Times: Times{Command: [3]time.Duration{time.Second}}}
		l, _ := serve(t, o, gate, func(Handover) {})
		conn, _ := mustDial(t, l, "127.16.0.1")
		if err := conn.(*net.TCPConn).SetReadBuffer(1); err != nil {
			t.Fatal(err)
		}
		go func() {
			for { // until the lobby has had enough
				if _, err := fmt.Fprint(conn, strings.Repeat("EHLO a.example\r\n", 100)+"RSET\r\n"); err != nil {
					return
				}
			}
		}()
		expect(t, "its end", func() bool {
			if p := l.Stats().Price; p > 2*backlogMax {
				t.Fatalf("price %d", p)
			}
			gate.mu.Lock()
			defer gate.mu.Unlock()
			return len(gate.left) == 1
		})
	})
}

// TestSockets_proxy: a header and what follows it in the same packet.
func TestSockets_proxy(t *testing.T) {
	shells(t, func(t *testing.T, portable bool) {
		s := newSessions("mx.demo.test")
		o := Options{Portable: portable, Hostname: "mx.demo.test", ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.77.0.0/16")}}
		gate := newFakeGate()
		l, stop := serve(t, o, gate, s.admit)
		for _, header := range []string{
			"PROXY TCP4 192.0.2.1 192.0.2.9 1 25\r\n",
			string(listen.AppendProxy(nil, listen.ProxyHeader{Source: netip.MustParseAddrPort("192.0.0.1:7"), Destination: netip.MustParseAddrPort("192.0.2.1:25")})),
		} {
			conn, r := mustDial(t, l, "127.77.0.1")
			fmt.Fprint(conn, header+"HELO a.example\r\n")
			for _, want := range []string{"220", "250"} {
				if got, err := reply(r); !strings.HasPrefix(got, want) {
					t.Errorf("%q: got %q, %v, want %s", header, got, err, want)
				}
			}
			if got, err := say(conn, r, "QUIT"); !strings.HasPrefix(got, "221") {
				t.Errorf("%q: got %q, %v, want 221", header, got, err)
			}
		}
		stop()
		s.wg.Wait()
		if got := gate.lastLeft(t).Addr.String(); got != "192.0.0.1" {
			t.Errorf("got a guest from %s, want 192.0.0.1", got)
		}
	})
}

func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.demo.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}},
		&tls.Config{ServerName: "mx.demo.test", RootCAs: roots}
}

// TestSockets_startTLS: the handshake is the session's, on the same
// connection.
func TestSockets_startTLS(t *testing.T) {
	server, client := selfSigned(t)
	shells(t, func(t *testing.T, portable bool) {
		s := newSessions("mx.demo.test")
		gate := newFakeGate()
		l, stop := serve(t, Options{Portable: portable, TLS: true, Hostname: "mx.demo.test", Machine: s.s.MachineOptions()}, gate, func(o Handover) {
			s.wg.Go(func() {
				defer o.Ended()
				c := listen.NewConn(o.Conn, listen.Facts{ID: o.ID, Remote: o.Remote, TLS: server})
				defer c.Close()
				s.s.Serve(context.Background(), c, session.Beginning{Resumed: !o.Fresh, Dialogue: o.Dialogue, Unread: o.Unread})
			})
		})
		conn, r := mustDial(t, l, "127.16.0.1")
		for _, want := range []string{"220", "250"} {
			if got, err := reply(r); !strings.HasPrefix(got, want) {
				t.Fatalf("got %q, %v, want %s", got, err, want)
			}
			if want == "220" {
				fmt.Fprint(conn, "EHLO a.example\r\n")
			}
		}
		if got, err := say(conn, r, "STARTTLS"); !strings.HasPrefix(got, "220") {
			t.Fatalf("got %q, %v, want 220", got, err)
		}
		secure := tls.Client(conn, client)
		r = bufio.NewReader(secure)
		for _, c := range [][2]string{{"EHLO a.example", "250"}, {"MAIL FROM:<>", "250"}, {"RCPT TO:<one@demo.test>", "250"}, {"QUIT", "221"}} {
			if got, err := say(secure, r, c[0]); !strings.HasPrefix(got, c[1]) {
				t.Errorf("%s: got %q, %v, want %s", c[0], got, err, c[1])
			}
		}
		stop()
		s.wg.Wait()
		if st := l.Stats(); st.TLS != 0 || st.Passed != 1 {
			t.Errorf("got %+v", st)
		}
	})
}

// BenchmarkSockets_refusal is a refusal through sockets of this machine, with
// its client.
func BenchmarkSockets_refusal(b *testing.B) {
	gate := quietGate{newFakeGate()}
	l, _ := serve(b, Options{Loops: 1, Hostname: "mx.demo.test", Stutter: Stutter{Off: true}}, gate, func(Handover) {})
	b.ReportAllocs()
	for i := range b.N {
		conn, err := dialFrom(l, fmt.Sprintf("127.%d.1.%d", 16+i/250%200, 1+i%250))
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(conn)
		if _, err := reply(r); err != nil {
			b.Fatal(err)
		}
		for _, command := range []string{"EHLO a.example", "MAIL FROM:<a@a.example>", "RCPT TO:<one@demo.test>"} {
			if _, err := say(conn, r, command); err != nil {
				b.Fatal(err)
			}
		}
		conn.Close()
	}
	b.StopTimer()
	b.ReportMetric(float64(l.Stats().CPU.Microseconds())/float64(b.N), "loop-µs/op")
}
