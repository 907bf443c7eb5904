package lobby

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// patience is how long a test with real sockets waits for what must happen.
const patience = 20 * time.Second

// shells runs a test with each shell.
func shells(t *testing.T, test func(t *testing.T, portable bool)) {
	for _, portable := range []bool{false, true} {
		if !portable && !hasEpoll {
			continue
		}
		t.Run(map[bool]string{false: "epoll", true: "portable"}[portable], func(t *testing.T) { test(t, portable) })
	}
}

// serve runs a lobby until the test ends; stop ends it at once.
func serve(t testing.TB, o Options, gate Gate, admit func(Handover)) (l *Lobby, stop func()) {
	t.Helper()
	if o.Addrs == nil {
		o.Addrs = []string{"127.0.0.1:0"}
	}
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Serve(ctx, gate, admit) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return l, stop
}

// dialFrom connects from an address of 127.0.0.0/8.
func dialFrom(l *Lobby, from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", l.Addrs()[0].String())
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func mustDial(t testing.TB, l *Lobby, from string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := dialFrom(l, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// reply reads one reply, of one or more lines.
func reply(r *bufio.Reader) (string, error) {
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return all.String(), err
		}
	}
}

// say sends a command and reads its reply.
func say(c net.Conn, r *bufio.Reader, command string) (string, error) {
	if _, err := fmt.Fprint(c, command+"\r\n"); err != nil {
		return "", err
	}
	return reply(r)
}

// expect waits for a condition.
func expect(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s does not come about", what)
		}
		runtime.Gosched()
		<-time.After(2 * time.Millisecond)
	}
}

// descriptors counts the open ones.
func descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	return len(names)
}

// mailroom takes everything for anybody but unknown@.
type mailroom struct{}

func (mailroom) Open(context.Context, *session.Envelope) (session.Transaction, error) {
	return transaction{}, nil
}

type transaction struct{}

func (transaction) Recipient(_ context.Context, to message.Address) error {
	if to.Local == "unknown" {
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user"}
	}
	return nil
}

func (transaction) Begin(context.Context, session.Envelope) (session.Body, error) {
	return body{}, nil
}

func (transaction) Close() {}

type body struct{}

func (body) Write(p []byte) (int, error)                   { return len(p), nil }
func (body) Commit(context.Context) (id string, err error) { return "id1", nil }
func (body) Abort()                                        {}

// sessions serves what is handed over.
type sessions struct {
	s  *session.Server
	wg sync.WaitGroup
}

func newSessions(hostname string) *sessions {
	return &sessions{s: session.New(session.Options{Hostname: hostname}, mailroom{}, nil)}
}

func (s *sessions) admit(o Handover) {
	s.wg.Go(func() {
		defer o.Ended()
		c := listen.NewConn(o.Conn, listen.Facts{ID: o.ID, Remote: o.Remote})
		defer c.Close()
		s.s.Serve(context.Background(), c, session.Beginning{Resumed: !o.Fresh, Dialogue: o.Dialogue, Unread: o.Unread})
	})
}

func TestSockets_refusedAndPassed(t *testing.T) {
	shells(t, func(t *testing.T, portable bool) {
		gate := newFakeGate()
		gate.late = func(done func()) { go done() }
		gate.wait = 20 * time.Millisecond
		s := newSessions("mx.demo.test")
		l, stop := serve(t, Options{Portable: portable, Loops: 2, Hostname: "mx.demo.test", Stutter: Stutter{Off: true}}, gate, s.admit)
		for _, c := range []struct{ from, rcpt, want string }{
			{"127.16.1.1", "one", "550"}, {"127.16.0.1", "one", "250"}, {"127.16.0.2", "unknown", "550 5.1.1"},
			{"127.16.2.1", "one", "250"}, {"127.16.0.3", "grey", "451"},
		} {
			conn, r := mustDial(t, l, c.from)
			if got, err := reply(r); !strings.HasPrefix(got, "220 ") {
				t.Fatalf("%s: got banner %q, %v", c.from, got, err)
			}
			for _, command := range []string{"EHLO a.example", "MAIL FROM:<a@a.example>"} {
				if got, err := say(conn, r, command); !strings.HasPrefix(got, "250") {
					t.Fatalf("%s: %s: got %q, %v", c.from, command, got, err)
				}
			}
			if got, err := say(conn, r, "RCPT TO:<"+c.rcpt+"@demo.test>"); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: got %q, %v, want %s", c.from, got, err, c.want)
			}
			if got, err := say(conn, r, "QUIT"); !strings.HasPrefix(got, "221") {
				t.Errorf("%s: got %q, %v, want 221", c.from, got, err)
			}
		}
		expect(t, "an empty lobby", func() bool { return l.Stats().Guests == 0 && l.Stats().Sessions == 0 })
		if got := l.Stats(); got.Arrived != 5 || got.Admitted != 1 || got.Passed != 2 || got.Refused != 1 || got.Deferred != 1 || got.Price != 0 {
			t.Errorf("got %+v", got)
		}
		stop()
		s.wg.Wait()
	})
}
