//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/relay"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// edge starts what stands in front of an inner server, and returns its
// address.
func edge(t *testing.T, o relay.Options) (string, *relay.Relay) {
	t.Helper()
	logFile, err := os.Create(filepath.Join(folder(t), "edge.log"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(logFile, nil))
	o.Hostname, o.Log = "edge.bench.test", log
	o.Times.Slot, o.Times.Connect = seenWait, seenWait // on a slow machine nobody hears 451 for that
	r, err := relay.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Listen(listen.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s := session.New(session.Options{Hostname: "edge.bench.test", Log: log}, r, nil)
	wg.Go(func() {
		if err := l.Serve(ctx, s.ServeConn); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(logFile.Name())
			t.Logf("the edge's log ends:\n%s", text[max(0, len(text)-4000):])
		}
		logFile.Close()
	})
	return l.Addr().String(), r
}

// front is one way to stand in front of one server.
type front struct {
	name string
	in   func(t *testing.T) *inner
	o    func(in *inner) relay.Options
	// facts says that the inner server knows the client.
	facts bool
}

var benchTest = []message.Domain{"bench.test"}

func fronts() []front {
	return []front{
		{"postfix-xclient", startInnerPostfix, func(in *inner) relay.Options { return relay.Options{To: in.xclient} }, true},
		{"postfix-proxy", startInnerPostfix, func(in *inner) relay.Options { return relay.Options{To: in.proxy, Facts: relay.Proxy} }, true},
		{"postfix-none", startInnerPostfix, func(in *inner) relay.Options {
			return relay.Options{To: in.plain, Facts: relay.Unstated, Domains: benchTest}
		}, false},
		{"exim-proxy", startInnerExim, func(in *inner) relay.Options { return relay.Options{To: in.proxy, Facts: relay.Proxy} }, true},
		{"exim-none", startInnerExim, func(in *inner) relay.Options {
			return relay.Options{To: in.plain, Facts: relay.Unstated, Domains: benchTest}
		}, false},
	}
}

// TestRelay hands mail to Debian's servers through the edge, with swaks and
// smtp-source: it arrives once, behind both trace fields, the inner server
// knows the client, and its refusals come back in its own words.
func TestRelay(t *testing.T) {
	t.Parallel()
	swaks, source := tool(t, "swaks"), tool(t, "smtp-source")
	for _, f := range fronts() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			in := f.in(t)
			addr, r := edge(t, f.o(in))
			eventually(t, "a probe", func() bool { _, known := r.Offer(); return known })
			dir := folder(t)
			base := []string{"--server", addr, "--local-interface", "127.1.2.3", "--ehlo", "client.example", "--from", "a@b.example"}
			for _, way := range [][]string{nil, {"--pipeline"}} {
				run(t, dir, swaks, append(append(base, way...), "--to", "one@bench.test", "--body", "line\n.dot\n..\nend")...)
			}
			for _, text := range in.arrived(t, "one", 2) {
				unfolded := strings.Join(strings.Fields(text), " ")
				if !strings.Contains(unfolded, "by edge.bench.test with ESMTP id ") || !strings.Contains(text, "([127.1.2.3])") ||
					!strings.Contains(text, "\nline\n.dot\n..\nend\n") {
					t.Errorf("got\n%s", text)
				}
				head, _, _ := strings.Cut(text, "by edge.bench.test")
				if got := strings.Count(head, "127.1.2.3"); f.facts != (got > 1) {
					t.Errorf("the client's address stands %d times before and in our trace field, and the inner server knows it: %v\n%s", got, f.facts, text)
				}
			}
			for local, want := range map[string]string{"unknown1": "550 5.1.1", "full1": "452 4.2.2"} {
				for range 2 {
					out, err := try(t, dir, nil, swaks, append(base, "--to", local+"@bench.test")...)
					if err == nil || !strings.Contains(out, want) {
						t.Errorf("%s was not answered %s:\n%s", local, want, out)
					}
				}
			}
			if out, err := try(t, dir, nil, swaks, append(base, "--to", "a@elsewhere.example")...); err == nil || !strings.Contains(out, " 5") {
				t.Errorf("it relays:\n%s", out)
			}
			if exists, sure := r.Known(message.Address{Local: "unknown1", Domain: "bench.test"}); exists || !sure {
				t.Errorf("got %v, %v: the unknown recipient is not remembered", exists, sure)
			}
			const sent = 100
			for i, args := range [][]string{{"-s", "20", "-l", "4096"}, {"-d", "-s", "5", "-l", "100000"}} {
				to := fmt.Sprintf("many%d", i)
				run(t, dir, source, append(args, "-m", fmt.Sprint(sent), "-f", "sender@b.example", "-t", to+"@bench.test", "inet:"+addr)...)
				in.arrived(t, to, sent)
			}
		})
	}
}

// TestRelay_Slow: an inner server that takes its time loses nothing.
func TestRelay_Slow(t *testing.T) {
	t.Parallel()
	source := tool(t, "smtp-source")
	for _, f := range fronts() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			in := f.in(t)
			o := f.o(in)
			o.MaxConns = 20
			addr, r := edge(t, o)
			eventually(t, "a probe", func() bool { _, known := r.Offer(); return known })
			run(t, folder(t), source, "-s", "40", "-m", "60", "-l", "10000", "-f", "sender@b.example", "-t", "slow1@bench.test", "inet:"+addr)
			in.arrived(t, "slow1", 60)
		})
	}
}

// TestRelay_Full: a server without room says so in its own words, and takes
// nothing.
func TestRelay_Full(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	in := startInnerPostfix(t)
	addr, _ := edge(t, relay.Options{To: in.full})
	for range 2 {
		out, err := try(t, folder(t), nil, swaks, "--server", addr, "--from", "a@b.example", "--to", "one@bench.test")
		if err == nil || !strings.Contains(out, "452 4.3.1 Insufficient system storage") {
			t.Errorf("got\n%s", out)
		}
	}
	in.arrived(t, "one", 0)
}

// TestRelay_OpenRelay: a server that trusts the edge's address and hears of no
// other would send anybody's mail anywhere. It gets none.
func TestRelay_OpenRelay(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	in := startInnerPostfixWith(t, strings.NewReplacer("mynetworks = 192.0.2.99", "mynetworks = 127.0.0.0/8",
		"smtpd_relay_restrictions = ", "smtpd_relay_restrictions = permit_mynetworks, "))
	for _, c := range []struct {
		name string
		o    relay.Options
		want string
	}{
		{"none", relay.Options{To: in.plain, Facts: relay.Unstated}, "451 4.3.5"},
		{"xclient", relay.Options{To: in.xclient}, "554 5.7.1"},
		{"domains", relay.Options{To: in.plain, Facts: relay.Unstated, Domains: benchTest}, "550 5.7.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, r := edge(t, c.o)
			eventually(t, "a probe", func() bool { _, known := r.Offer(); return known })
			out, err := try(t, folder(t), nil, swaks, "--server", addr, "--local-interface", "127.1.2.3", "--from", "a@b.example", "--to", "a@elsewhere.example")
			if c.name == "xclient" { // 127.1.2.3 is of 127.0.0.0/8, and rightly trusted
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				return
			}
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("not answered %s:\n%s", c.want, out)
			}
		})
	}
}

// TestRelay_Killed sends without a pause while the inner server's processes
// are killed, some or all, and brought back. What got its 250 was taken once and
// is there; what did not was taken once at most, and nobody hears 5yz.
func TestRelay_Killed(t *testing.T) {
	t.Parallel()
	for _, f := range fronts() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			in := f.in(t)
			addr, r := edge(t, f.o(in))
			eventually(t, "a probe", func() bool { _, known := r.Offer(); return known })
			s := startSenders(t, addr, 8)
			killed := 0
			for i := range 8 {
				s.more(t, "messages are accepted", &s.acked, 15)
				if i%4 != 3 {
					killed += in.killWorkers(t)
					continue
				}
				in.kill()
				s.more(t, "messages are refused", &s.failed, 30)
				in.child = in.start(t)
				in.wait(t, in.plain)
			}
			s.more(t, "messages are accepted again", &s.acked, 50)
			s.stop()
			if len(s.never) > 0 {
				t.Errorf("%d refusals for good, such as %v", len(s.never), s.never[0])
			}
			beyond := s.compare(t, in)
			t.Logf("%d connections' processes killed, the whole server twice: %d messages got 250, %d did not, of which %d were taken", killed, len(s.acked), len(s.failed), beyond)
		})
	}
}

// senders send to one@bench.test until they are stopped.
type senders struct {
	cancel        func()
	wg            sync.WaitGroup
	mu            sync.Mutex
	acked, failed []string
	never         []error
}

func startSenders(t *testing.T, addr string, n int) *senders {
	ctx, cancel := context.WithCancel(t.Context())
	s := &senders{cancel: cancel}
	for w := range n {
		s.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("w%d-%d-", w, i)
				err := sendOne(addr, id, 1<<(10+i%10))
				s.note(id, err)
				if err != nil {
					select { // a sender would wait for longer
					case <-time.After(5 * lookGap):
					case <-ctx.Done():
					}
				}
			}
		})
	}
	return s
}

func (s *senders) note(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var re *smtp.Reply
	switch {
	case err == nil:
		s.acked = append(s.acked, id)
	case errors.As(err, &re) && re.Code >= 500:
		s.never = append(s.never, err)
	default:
		s.failed = append(s.failed, id)
	}
}

// more waits until a list has grown by n.
func (s *senders) more(t *testing.T, what string, list *[]string, n int) {
	t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(*list)
	}
	before := count()
	eventually(t, what, func() bool { return count() >= before+n })
}

func (s *senders) stop() {
	s.cancel()
	s.wg.Wait()
}

// compare looks for each message in the inner server's log and in its mailbox;
// it returns how many it took that were not acknowledged.
func (s *senders) compare(t *testing.T, in *inner) (beyond int) {
	t.Helper()
	missing := func() (ids []string) {
		box := map[string]bool{}
		for _, text := range in.box(t, "one") {
			_, id, _ := strings.Cut(text, "Subject: ")
			id, _, _ = strings.Cut(id, "\n")
			box[id] = true
		}
		return slices.DeleteFunc(slices.Clone(s.acked), func(id string) bool { return box[id] })
	}
	for deadline := time.After(seenWait); len(missing()) > 0; {
		select {
		case <-deadline:
			t.Fatalf("got their 250 and are not there: %v", missing())
		case <-time.After(time.Second):
		}
	}
	for id, n := range in.taken(t) {
		if n > 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
		if !slices.Contains(s.acked, id) {
			beyond++
		}
	}
	return beyond
}

// sendOne sends one message of about a size by a connection of its own.
func sendOne(addr, id string, size int) error {
	ctx, cancel := context.WithTimeout(context.Background(), toolWait)
	defer cancel()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	c := smtp.NewClient(conn, smtp.ClientOptions{Hostname: "client.example"})
	defer c.Close()
	if err := c.Hello(ctx); err != nil {
		return err
	}
	one := message.Address{Local: "one", Domain: "bench.test"}
	_, err = c.Send(ctx, &smtp.Envelope{
		From: message.Address{Local: "a", Domain: "b.example"}, Recipients: []smtp.Recipient{{To: one}},
	}, strings.NewReader("Subject: "+id+"\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", size/18)))
	return err
}
