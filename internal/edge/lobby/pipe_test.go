package lobby

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
)

var update = flag.Bool("update", false, "rewrite the server's lines in testdata/script")

// pipes is a listener whose connections are pipes.
type pipes struct {
	next   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{next: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case <-p.closed:
		return nil, net.ErrClosed
	case c := <-p.next:
		return c, nil
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

type pipeEnd struct {
	net.Conn
	from net.Addr
}

func (p pipeEnd) RemoteAddr() net.Addr { return p.from }

// connect brings a connection and returns the client's end.
func (p *pipes) connect(from string) net.Conn {
	near, far := net.Pipe()
	p.next <- pipeEnd{far, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}
	return near
}

// sender is a pipe's end whose writes do not wait to be read, as those to a
// socket.
type sender struct {
	net.Conn
	queue chan []byte
	over  chan struct{}
	once  sync.Once
}

func newSender(c net.Conn) *sender {
	s := &sender{Conn: c, queue: make(chan []byte, 100), over: make(chan struct{})}
	go func() {
		for {
			select {
			case b := <-s.queue:
				if _, err := c.Write(b); err != nil {
					return
				}
			case <-s.over:
				return
			}
		}
	}()
	return s
}

func (s *sender) Write(b []byte) (int, error) {
	if len(b) > 0 {
		s.queue <- append([]byte(nil), b...)
	}
	return len(b), nil
}

func (s *sender) Close() error {
	s.once.Do(func() { close(s.over) })
	return s.Conn.Close()
}

// servePipes runs the portable shell over pipes; stop ends it.
func servePipes(t *testing.T, o Options, gate Gate, admit func(Handover)) (*pipes, *hall, func()) {
	p := newPipes()
	o = o.withDefaults()
	h := newHall(&o, &pool{strangers: int64(o.Strangers), budget: o.Budget, tlsGuests: int64(o.TLSGuests)}, gate, listen.NewIDs())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	sh := newPortable(&o, h, []net.Listener{p}, admit)
	go func() { done <- sh.run(ctx) }()
	synctest.Wait()
	return p, h, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestScripts plays the dialogues of testdata/script. The file config has
// words: "from ADDR:PORT", "wait 4s", "late 2s" (the score), "level busy",
// "stutter", "tls", "tls-guests 1", "proxy NET". The dialogues' own words:
// "connect N", where nothing is said at first; "level LEVEL"; and "left WORDS", which the guest that left last must have
// been.
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			d, err := sim.LoadDialogue(name)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { playScript(t, d) })
		})
	}
}

func scriptConfig(t *testing.T, d *sim.Dialogue) (o Options, gate *fakeGate, from string) {
	config, _ := d.File("config")
	o = Options{Hostname: "mx.demo.test", Stutter: Stutter{Off: true}}
	gate, from = newFakeGate(), "192.0.0.7:1000"
	for line := range strings.Lines(config) {
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		dur, _ := time.ParseDuration(arg)
		switch word {
		case "from":
			from = arg
		case "wait":
			gate.wait = dur
		case "late":
			gate.late = func(done func()) { time.AfterFunc(dur, done) }
		case "level":
			gate.level = levelOf(arg)
		case "stutter":
			o.Stutter.Off = false
		case "tls":
			o.TLS = true
		case "no-room":
			o.Strangers = 1
		case "tls-guests":
			fmt.Sscan(arg, &o.TLSGuests)
		case "proxy":
			o.ProxyFrom = append(o.ProxyFrom, netip.MustParsePrefix(arg))
		default:
			t.Fatalf("unknown word %q of config", word)
		}
	}
	return o, gate, from
}

func levelOf(s string) policy.Level {
	return map[string]policy.Level{"calm": policy.Calm, "busy": policy.Busy, "stormy": policy.Stormy}[s]
}

func playScript(t *testing.T, d *sim.Dialogue) {
	o, gate, from := scriptConfig(t, d)
	s := session.New(session.Options{Hostname: "mx.demo.test"}, mailroom{}, nil)
	o.Machine = s.MachineOptions()
	var wg sync.WaitGroup
	p, h, stop := servePipes(t, o, gate, func(o Handover) {
		gate.passed(&o)
		wg.Go(func() {
			defer o.Ended()
			c := listen.NewConn(o.Conn, listen.Facts{ID: o.ID, Remote: o.Remote})
			defer c.Close()
			s.Serve(t.Context(), c, session.Beginning{Resumed: !o.Fresh, Dialogue: o.Dialogue, Unread: o.Unread})
		})
	})
	err := d.Play(sim.Play{
		Dial:    func(int) (net.Conn, error) { return newSender(p.connect(from)), nil },
		Settle:  synctest.Wait,
		Advance: time.Sleep,
		Do: map[string]func(*sim.Player, string) error{
			"connect": func(p *sim.Player, arg string) error {
				n := 0
				fmt.Sscan(arg, &n)
				return p.Wrap(n, func(c net.Conn) (net.Conn, error) { return c, nil })
			},
			"level": func(_ *sim.Player, arg string) error {
				gate.mu.Lock()
				defer gate.mu.Unlock()
				gate.level = levelOf(arg)
				return nil
			},
			"left": func(_ *sim.Player, want string) error {
				g := gate.lastLeft(t)
				if got := fmt.Sprintf("%s faults=%s helo=%s from=%s to=%s rcpts=%d", g.Ended, faultNames(g.Faults), g.Helo, g.From, g.To, g.Rcpts); got != want {
					return fmt.Errorf("got %s", got)
				}
				return nil
			},
		},
		Update: *update,
	})
	if err != nil {
		t.Error(err)
	}
	stop()
	wg.Wait()
	if h.count != 0 || h.pool.price.Load() != 0 || gate.inside() != 0 {
		t.Errorf("left over: %d guests, price %d, %d at the gate", h.count, h.pool.price.Load(), gate.inside())
	}
}

// handOverScripts end in QUIT and pass the gate at RCPT.
func handOverScripts() map[string]string {
	return map[string]string{
		"helo":      "HELO a.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"ehlo":      "EHLO a.example\r\nMAIL FROM:<a@a.example> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<one@demo.test> NOTIFY=NEVER\r\nRCPT TO:<unknown@demo.test>\r\nDATA\r\nx\r\n..\r\n.\r\nQUIT\r\n",
		"unknown":   "EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<unknown@demo.test>\r\nRCPT TO:<postmaster>\r\nBDAT 3 LAST\r\nx\r\nRSET\r\nQUIT\r\n",
		"verbs":     "NOOP\r\nHELP\r\nVRFY x\r\nEXPN x\r\nAUTH PLAIN\r\nSTARTTLS\r\nRSET\r\nMAIL FROM:<a@b.example>\r\nEHLO \r\nEHLO a.example\r\nRCPT TO:<x@y.example>\r\nMAIL FROM:<a@b.example>\r\nMAIL FROM:<c@b.example>\r\nRSET\r\nFOO\r\nMAIL FROM:<d@b.example>\r\nDATA\r\nRCPT TO:<one@demo.test>\r\nNOOP\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"faults":    "EHLO a.example\r\nNOOP\nx\r\nMAIL\rFROM:<a@b.example>\r\nNO\x00OP\r\n" + strings.Repeat("y", 2100) + "\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nQUIT\r\n",
		"literals":  "EHLO a.example\r\nMAIL FROM:<\"a b\"@[192.0.2.1]>\r\nRCPT TO:<one@demo.test> ORCPT=rfc822;one@demo.test\r\nRSET\r\nMAIL FROM:<b@b.example>\r\nRCPT TO:<unknown@demo.test>\r\nQUIT\r\n",
		"swallowed": "EHLO a.example\r\nMAIL FROM:<b@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<b@b.example>\r\nRCPT TO:<one@demo.test>\r\nQUIT\r\n",
	}
}

// TestHandOver_isNotSeen plays dialogues that pass, cut at each octet, and one
// octet at a time, and compares what the client sees with what a session alone
// says.
func TestHandOver_isNotSeen(t *testing.T) {
	for name, text := range handOverScripts() {
		t.Run(name, func(t *testing.T) {
			var want string
			synctest.Test(t, func(t *testing.T) {
				s := session.New(session.Options{Hostname: "mx.demo.test"}, mailroom{}, nil)
				near, far := net.Pipe()
				go func() {
					defer far.Close()
					s.ServeConn(t.Context(), listen.NewConn(far, listen.Facts{}))
				}()
				want = converse(t, near, text)
			})
			if !strings.HasSuffix(want, "221 2.0.0 Bye\r\n") {
				t.Fatalf("the session alone says %q", want)
			}
			for cut := range len(text) + 1 {
				if len(text) > 2000 && cut%7 != 0 && cut > 60 {
					continue // a line of 2,100 times the same octet
				}
				synctest.Test(t, func(t *testing.T) {
					parts := []string{text[:cut], text[cut:]}
					if cut == 0 {
						parts = strings.Split(text, "")
					}
					if got := throughLobby(t, parts); got != want {
						t.Errorf("cut at %d: got %q, want %q", cut, got, want)
					}
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}

// converse sends parts and returns all that was said until the end.
func converse(t *testing.T, c net.Conn, parts ...string) string {
	defer c.Close()
	said := make(chan string)
	go func() {
		b, _ := io.ReadAll(c)
		said <- string(b)
	}()
	for _, p := range parts {
		if _, err := io.WriteString(c, p); err != nil && p != "" {
			t.Errorf("send %q: %v", p, err)
			break
		}
		synctest.Wait()
	}
	return <-said
}

func throughLobby(t *testing.T, parts []string) string {
	s := session.New(session.Options{Hostname: "mx.demo.test"}, mailroom{}, nil)
	gate := newFakeGate()
	passed := 0
	var wg sync.WaitGroup
	p, _, stop := servePipes(t, Options{Machine: s.MachineOptions()}, gate, func(o Handover) {
		passed++
		wg.Go(func() {
			c := listen.NewConn(o.Conn, listen.Facts{ID: o.ID, Remote: o.Remote})
			defer c.Close()
			s.Serve(t.Context(), c, session.Beginning{Resumed: !o.Fresh, Dialogue: o.Dialogue, Unread: o.Unread})
		})
	})
	said := converse(t, p.connect("192.0.0.7:1000"), parts...)
	stop()
	wg.Wait()
	if passed != 1 {
		t.Errorf("%d hand-overs", passed)
	}
	return said
}
