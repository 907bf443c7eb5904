package session

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// lobby is a small shell that begins dialogues for others to go on with.
type lobby struct {
	octets  int  // how many are read before the dialogue is handed over
	slowly  bool // one at a time, not at once
	senders bool // any sender may send; else that question is handed over too
}

func (l lobby) String() string {
	return fmt.Sprintf("slowly=%v,senders=%v", l.slowly, l.senders)
}

// run runs a dialogue, made into octets and back before each step, until it
// has read what it should or cannot answer a question.
func (l lobby) run(t *testing.T, c net.Conn, m *smtp.Machine) (smtp.Dialogue, []byte) {
	var d smtp.Dialogue
	var in []byte
	left := l.octets
	ev := smtp.Event{Kind: smtp.EventOpen}
	for {
		a, out := m.Step(&d, ev, time.Now(), nil)
		again, err := smtp.DecodeDialogue(d.AppendBinary(nil))
		if err != nil {
			t.Errorf("state: %v", err)
		}
		d, in = again, in[a.N:]
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				t.Error(err)
			}
		}
		if a.Kind == smtp.ActionSender && l.senders {
			ev = smtp.Event{Kind: smtp.EventProceed}
			continue
		}
		if a.Kind != smtp.ActionRead || len(in) == 0 && left == 0 {
			rest := make([]byte, left)
			if _, err := io.ReadFull(c, rest); err != nil {
				t.Error(err)
			}
			return d, append(in, rest...)
		}
		if len(in) == 0 {
			in = make([]byte, left)
			if l.slowly {
				in = in[:1]
			}
			if _, err := io.ReadFull(c, in); err != nil {
				t.Error(err)
			}
			left -= len(in)
		}
		ev = smtp.Event{Kind: smtp.EventInput, Data: in}
	}
}

// TestHandOver_atEveryOctet lets a small shell begin a dialogue, hand it over
// at each octet, or at the first question that it cannot answer, and compares
// what the client sees.
func TestHandOver_atEveryOctet(t *testing.T) {
	for _, l := range []lobby{{}, {senders: true}, {slowly: true}, {slowly: true, senders: true}} {
		t.Run(l.String(), func(t *testing.T) {
			var want, counts string
			for l.octets = range len(script) + 1 {
				synctest.Test(t, func(t *testing.T) {
					got, gotCounts := handOver(t, l)
					if l.octets == 0 {
						want, counts = got, gotCounts
					}
					if got != want || gotCounts != counts {
						t.Fatalf("handed over at %d: %s\n%s\nwant %s\n%s", l.octets, gotCounts, got, counts, want)
					}
				})
			}
			if !strings.Contains(want, "221 2.0.0 Bye") || counts != "3 opened, 3 closed, 3 begun, 2 taken, 1 given up" {
				t.Errorf("%s: %s", counts, want)
			}
		})
	}
}

// handOver plays the script and returns what its client saw and what became
// of the transactions.
func handOver(t *testing.T, l lobby) (said, counts string) {
	near, far := net.Pipe()
	defer near.Close()
	r := &room{}
	s := New(Options{Hostname: "mx.demo.test", WithoutDSN: true}, &room{}, nil)
	replies := transcript(near)
	go func() {
		defer far.Close()
		d, unread := l.run(t, far, smtp.NewMachine(s.MachineOptions()))
		s.Serve(t.Context(), listen.NewConn(far, listen.Facts{}), Beginning{Room: r, Resumed: true, Dialogue: d, Unread: unread})
	}()
	if _, err := io.WriteString(near, script); err != nil && l.octets > 0 {
		t.Fatal(err)
	}
	said = <-replies
	synctest.Wait()
	return said, fmt.Sprintf("%d opened, %d closed, %s", r.opened, r.closed, r.counts())
}

// TestHandOver_acceptedRecipients: what was accepted before a hand-over is
// asked about again, and if the answer is another one now, no part of the
// message is taken.
func TestHandOver_acceptedRecipients(t *testing.T) {
	for _, c := range []struct{ accepted, then, want string }{
		{"one two", "RCPT TO:<three@demo.test>\r\n", "250 354 250 221"},
		{"one two", "RCPT TO:<unknown@demo.test>\r\n", "550 354 250 221"},
		{"one two", "", "354 250 221"},
		{"one unknown two", "RCPT TO:<three@demo.test>\r\n", "451 451 500 500 221"},
		{"unknown", "", "451 500 500 221"},
		{"broken", "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<one@demo.test>\r\n", "250 250 250 354 250 221"},
	} {
		t.Run(c.accepted+" "+c.then, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{}, &room{}, nil)
				m := smtp.NewMachine(s.MachineOptions())
				var d smtp.Dialogue
				begun := "EHLO x\r\nMAIL FROM:<a@b.example>\r\n"
				for _, to := range strings.Fields(c.accepted) {
					begun += "RCPT TO:<" + to + "@demo.test>\r\n"
				}
				in := []byte(begun)
				ev := smtp.Event{Kind: smtp.EventOpen}
				for len(in) > 0 || ev.Kind != smtp.EventInput {
					a, _ := m.Step(&d, ev, time.Now(), nil)
					in = in[a.N:]
					ev = smtp.Event{Kind: smtp.EventInput, Data: in}
					if a.Kind != smtp.ActionRead {
						ev = smtp.Event{Kind: smtp.EventProceed} // to all that is asked
					}
				}
				near, far := net.Pipe()
				said := transcript(near)
				go func() {
					s.Serve(t.Context(), listen.NewConn(far, listen.Facts{}), Beginning{
						Resumed: true, Dialogue: d, Unread: []byte(c.then + "DATA\r\nx\r\n.\r\nQUIT\r\n"),
					})
					far.Close()
				}()
				var codes []string
				for line := range strings.Lines(<-said) {
					codes = append(codes, line[:3])
				}
				if got := strings.Join(codes, " "); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestHandOver_rearms: a dialogue that was to be quick elsewhere has the
// waits of a session here.
func TestHandOver_rearms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{}, &room{}, nil)
		hasty := s.MachineOptions()
		hasty.Times.Command = time.Second
		var d smtp.Dialogue
		smtp.NewMachine(hasty).Step(&d, smtp.Event{Kind: smtp.EventOpen}, time.Now(), nil)
		time.Sleep(2 * time.Second)
		near, far := net.Pipe()
		said := transcript(near)
		began := time.Now()
		s.Serve(t.Context(), listen.NewConn(far, listen.Facts{}), Beginning{Resumed: true, Dialogue: d})
		far.Close()
		if got := time.Since(began); got != 5*time.Minute {
			t.Errorf("silence was borne for %v, want 5m", got)
		}
		<-said
	})
}

// TestServe_unreadOfAFreshConnection: octets that came before the banner are
// commands after it.
func TestServe_unreadOfAFreshConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		said := transcript(near)
		New(Options{Hostname: "mx.demo.test"}, &room{}, nil).Serve(t.Context(), listen.NewConn(far, listen.Facts{}), Beginning{Unread: []byte("QUIT\r\n")})
		far.Close()
		if got, want := <-said, "220 mx.demo.test ESMTP Breakwater\r\n221 2.0.0 Bye\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestPort25Submission is the incident: a dialogue that the lobby began goes
// by STARTTLS and AUTH to submission, on the same connection. It shows in the
// summary, in the metrics, and in what OnLogin hears.
func TestPort25Submission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverTLS, clientTLS := certificate(t)
		guarded, users := &room{}, &room{}
		reg := prometheus.NewRegistry()
		var logins []string
		var sum Summary
		s := New(Options{
			Users: users, Metrics: NewMetrics(reg, "mx"), UserMetrics: NewMetrics(reg, "submission"),
			OnLogin: func(ip netip.Addr, ok bool) { logins = append(logins, fmt.Sprint(ip, ok)) },
		}, &room{}, accounts{})
		near, far := net.Pipe()
		ended := make(chan bool)
		go func() {
			defer close(ended)
			defer far.Close()
			o := s.MachineOptions()
			o.TLS = true
			d, unread := lobby{slowly: true, octets: len("EHLO client.example\r\nSTARTTLS\r\n")}.run(t, far, smtp.NewMachine(o))
			c := listen.NewConn(far, listen.Facts{ID: "guest1", Remote: netip.MustParseAddrPort("192.0.2.1:4000"), TLS: serverTLS})
			s.Serve(t.Context(), c, Beginning{Room: guarded, Resumed: true, Dialogue: d, Unread: unread, Ended: func(got Summary) { sum = got }})
		}()
		c := smtp.NewClient(near, smtp.ClientOptions{Hostname: "client.example"})
		ctx := t.Context()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		send := func(from string) error {
			e := &Envelope{From: message.Address{Local: from, Domain: "demo.test"}}
			e.Recipients = []smtp.Recipient{{To: message.Address{Local: "a", Domain: "b.example"}}}
			_, err := c.Send(ctx, e, strings.NewReader("x\r\n"))
			return err
		}
		check(c.Hello(ctx))
		check(c.StartTLS(ctx, clientTLS))
		check(send("two"))
		if c.AuthPlain(ctx, "one@demo.test", "wrong") == nil || c.AuthPlain(ctx, "one@demo.test", "fault") == nil {
			t.Error("a login went well that should not")
		}
		check(c.AuthPlain(ctx, "one@demo.test", "hunter2-secret"))
		if send("two") == nil {
			t.Error("another's address was accepted as sender")
		}
		check(send("one"))
		check(c.Quit(ctx))
		<-ended
		if got, want := guarded.counts()+"; "+users.counts(), "1 begun, 1 taken, 0 given up; 1 begun, 1 taken, 0 given up"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if e := users.envs[0]; e.Protocol != "ESMTPSA" || e.Account != 7 || guarded.envs[0].Account != 0 {
			t.Errorf("got %+v, want account 7 by ESMTPSA", e)
		}
		if got, want := fmt.Sprint(logins), "[192.0.2.1 false 192.0.2.1 true]"; got != want {
			t.Errorf("got logins %s, want %s", got, want)
		}
		if want := (Summary{Accepted: 2, RecipientsRefused: 1, Logins: 1, LoginsFailed: 1, Octets: 6, User: true, Reason: "quit"}); sum != want {
			t.Errorf("got %+v, want %+v", sum, want)
		}
		if mx, users := value(t, reg, "mx"), value(t, reg, "submission"); mx == 0 || users == 0 {
			t.Errorf("got metrics of mx %v and of submission %v, want some of each", mx, users)
		}
	})
}
