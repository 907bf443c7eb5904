package session

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// serveTCP serves on a socket until the test ends.
func serveTCP(t testing.TB, o Options, room Mailroom) (addr string, client *tls.Config) {
	t.Helper()
	serverTLS, client := certificate(t)
	l, err := listen.Listen(listen.Options{Addr: "127.0.0.1:0", TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Serve(ctx, New(o, room, accounts{}).ServeConn); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String(), client
}

// TestPeer_goSMTP: an independent client delivers, in the clear and by TLS.
func TestPeer_goSMTP(t *testing.T) {
	r := &room{}
	addr, clientTLS := serveTCP(t, Options{}, r)
	text := strings.Repeat("From: a\r\n\r\n.dot\r\n..\r\n"+strings.Repeat("0123456789", 7)+"\r\n", 2000)
	for _, dial := range []func() (*gosmtp.Client, error){
		func() (*gosmtp.Client, error) { return gosmtp.Dial(addr) },
		func() (*gosmtp.Client, error) { return gosmtp.DialStartTLS(addr, clientTLS) },
	} {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SendMail("a@b.example", []string{"one@demo.test", "two@demo.test"}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		if err := c.SendMail("a@b.example", []string{"unknown@demo.test"}, strings.NewReader(text)); err == nil {
			t.Error("an unknown recipient was accepted")
		}
		if err := c.Quit(); err != nil {
			t.Error(err)
		}
	}
	if len(r.bodies) != 2 || r.bodies[0] != text || r.bodies[1] != text {
		t.Errorf("%s", r.counts())
	}
}

// TestManySessions: a thousand at once, each with a message of its own, in
// three sizes and by DATA and BDAT.
func TestManySessions(t *testing.T) {
	const sessions = 1000
	r := &room{}
	addr, _ := serveTCP(t, Options{}, r)
	var greeted, done sync.WaitGroup
	greeted.Add(sessions)
	for i := range sessions {
		done.Go(func() {
			err := func() error {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					greeted.Done()
					return err
				}
				c := smtp.NewClient(conn, smtp.ClientOptions{Now: time.Now, Chunking: i%2 == 0})
				defer c.Close()
				err = c.Hello(t.Context())
				greeted.Done()
				if err != nil {
					return err
				}
				greeted.Wait() // all of them are open now
				_, err = c.Send(t.Context(), to("one"), strings.NewReader(bodyOf(i)))
				return err
			}()
			if err != nil {
				t.Errorf("session %d: %v", i, err)
			}
		})
	}
	done.Wait()
	seen := map[string]bool{}
	for _, b := range r.bodies {
		seen[b] = true
	}
	for i := range sessions {
		if !seen[bodyOf(i)] {
			t.Fatalf("message %d is missing", i)
		}
	}
}

func bodyOf(i int) string {
	return fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat("0123456789abcdef\r\n", []int{1, 100, 5000}[i%3])
}

func to(local string) *Envelope {
	a := message.Address{Local: local, Domain: "demo.test"}
	return &Envelope{From: a, Recipients: []smtp.Recipient{{To: a}}}
}

// TestLastReply_arrives: a client that still sends when it is thrown out gets
// to know why. Without the linger its octets would make the kernel reset the
// connection.
func TestLastReply_arrives(t *testing.T) {
	addr, _ := serveTCP(t, Options{}, &room{})
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"+strings.Repeat("Cookie: x\r\n", 20_000)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Contains(got, []byte("421 4.7.0 This is SMTP")) {
			t.Fatalf("%q %v", got, err)
		}
		c.Close()
	}
}

// discard is a Mailroom that takes everything and keeps nothing.
type discard struct{}

func (discard) Open(context.Context, *Envelope) (Transaction, error) { return discard{}, nil }
func (discard) Recipient(context.Context, message.Address) error     { return nil }
func (discard) Begin(context.Context, Envelope) (Body, error)        { return discard{}, nil }
func (discard) Write(p []byte) (int, error)                          { return len(p), nil }
func (discard) Commit(context.Context) (string, error)               { return "id", nil }
func (discard) Abort()                                               {}
func (discard) Close()                                               {}

// BenchmarkMessages sends 10 KB messages with our own client in the same
// process; cpu-µs/msg has both sides in it.
func BenchmarkMessages(b *testing.B) {
	body := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 128)
	for _, c := range []struct {
		name     string
		clients  int
		chunking bool
		tls      bool
	}{{"DATA/1", 1, false, false}, {"DATA/16", 16, false, false}, {"BDAT/16", 16, true, false}, {"DATA/TLS/16", 16, false, true}} {
		b.Run(c.name, func(b *testing.B) {
			addr, clientTLS := serveTCP(b, Options{}, discard{})
			var wg sync.WaitGroup
			b.ReportAllocs()
			before := cpu()
			for i := range c.clients {
				n := b.N / c.clients
				if i == 0 {
					n += b.N % c.clients
				}
				wg.Go(func() {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						b.Error(err)
						return
					}
					cl := smtp.NewClient(conn, smtp.ClientOptions{Now: time.Now, Chunking: c.chunking})
					defer cl.Close()
					if err := cl.Hello(b.Context()); err != nil {
						b.Error(err)
						return
					}
					if c.tls {
						if err := cl.StartTLS(b.Context(), clientTLS); err != nil {
							b.Error(err)
							return
						}
					}
					e := to("one")
					for range n {
						if _, err := cl.Send(b.Context(), e, bytes.NewReader(body)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/msg")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkIdle holds sessions that have greeted and are silent.
func BenchmarkIdle(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", secure), func(b *testing.B) {
			const sessions = 1000
			addr, clientTLS := serveTCP(b, Options{}, discard{})
			before := inUse()
			var conns []net.Conn
			for range sessions {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				conns = append(conns, conn)
				cl := smtp.NewClient(conn, smtp.ClientOptions{})
				if err := cl.Hello(b.Context()); err != nil {
					b.Fatal(err)
				}
				if secure {
					if err := cl.StartTLS(b.Context(), clientTLS); err != nil {
						b.Fatal(err)
					}
				}
			}
			used := inUse() - before
			for b.Loop() {
			}
			// The clients' memory is in it too; that of TLS is about half.
			b.ReportMetric(float64(used)/sessions, "B/session")
			for _, c := range conns {
				c.Close()
			}
		})
	}
}

// inUse is the memory of heap and stacks after a collection.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// cpu is the processor time that the process has had.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
