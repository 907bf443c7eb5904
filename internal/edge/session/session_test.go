package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

const script = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nRCPT TO:<unknown@demo.test>\r\nDATA\r\n" +
	"Subject: x\r\n\r\n..dot\r\n.\r\nNOOP\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<two@demo.test>\r\nBDAT 3\r\na\r\nBDAT 4 LAST\r\n.b\r\n" +
	"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\nx\ny\r\n.\r\nRSET\r\nQUIT\r\n"

// transcript reads all that a server says.
func transcript(c net.Conn) <-chan string {
	out := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(c)
		out <- string(b)
	}()
	return out
}

// TestClientVanishes_atEveryOctet: every body that was begun ends, and the
// session does.
func TestClientVanishes_atEveryOctet(t *testing.T) {
	for cut := range len(script) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			r := &room{}
			ended := false
			go func() {
				New(Options{}, r, nil).ServeConn(t.Context(), listen.NewConn(far, listen.Facts{}))
				ended = true
				far.Close()
			}()
			go io.Copy(io.Discard, near)
			if _, err := io.WriteString(near, script[:cut]); err != nil {
				t.Fatal(err)
			}
			near.Close()
			synctest.Wait()
			if !ended || r.begun != r.taken+r.abandoned || r.opened != r.closed {
				t.Fatalf("cut at %d: ended %v, %s", cut, ended, r.counts())
			}
		})
	}
}

// TestClientNeverReads: a client that takes no replies is waited for no longer
// than Options.Write.
func TestClientNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		began := time.Now()
		New(Options{}, &room{}, nil).ServeConn(t.Context(), listen.NewConn(far, listen.Facts{}))
		if got := time.Since(began); got != 2*time.Minute {
			t.Errorf("ended after %v", got)
		}
		far.Close()
	})
}

// TestReplies_areSentTogether counts the writes of a pipelined batch.
func TestReplies_areSentTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		counted := &countingConn{Conn: far}
		go func() {
			New(Options{}, &room{}, nil).ServeConn(t.Context(), listen.NewConn(counted, listen.Facts{}))
			far.Close()
		}()
		said := transcript(near)
		synctest.Wait()
		before := counted.writes
		if _, err := io.WriteString(near, "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := counted.writes - before; got != 1 {
			t.Errorf("%d writes", got)
		}
		near.Close()
		<-said
	})
}

type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// TestEnvelope_hasTheFacts looks at what the Mailroom is told.
func TestEnvelope_hasTheFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverTLS, clientTLS := certificate(t)
		r := &room{}
		near, far := net.Pipe()
		go func() {
			New(Options{Kind: Submission}, r, accounts{}).ServeConn(t.Context(), listen.NewConn(far, listen.Facts{
				ID: "conn1", Remote: netip.MustParseAddrPort("192.0.2.1:4000"), TLS: serverTLS,
			}))
			far.Close()
		}()
		c := smtp.NewClient(near, smtp.ClientOptions{Hostname: "client.example"})
		ctx := t.Context()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(c.Hello(ctx))
		check(c.StartTLS(ctx, clientTLS))
		check(c.AuthPlain(ctx, "one@demo.test", "hunter2-secret"))
		e := &Envelope{Recipients: []smtp.Recipient{{Notify: smtp.NotifyNever}}}
		e.From.Local, e.From.Domain = "one", "demo.test"
		e.Recipients[0].To = e.From
		_, err := c.Send(ctx, e, strings.NewReader("x\r\n"))
		check(err)
		check(c.Quit(ctx))
		got := r.envs[0]
		if got.Session != "conn1" || got.RemoteIP != netip.MustParseAddr("192.0.2.1") || got.Helo != "client.example" ||
			got.Protocol != "ESMTPSA" || got.TLS != "TLS 1.3 TLS_AES_128_GCM_SHA256" || got.Account != 7 || got.User.String() != "one@demo.test" ||
			got.Recipients[0].Notify != smtp.NotifyNever {
			t.Errorf("%+v", got)
		}
	})
}

// TestLog_tellsAndKeepsSecrets: one line for each message and each session,
// with no password in any.
func TestLog_tellsAndKeepsSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := prometheus.NewRegistry()
		serverTLS, clientTLS := certificate(t)
		o := Options{
			Kind: Submission, Metrics: NewMetrics(reg, "submission"),
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		near, far := net.Pipe()
		go func() {
			New(o, &room{}, accounts{}).ServeConn(t.Context(), listen.NewConn(far, listen.Facts{ID: "conn1", TLS: serverTLS}))
			far.Close()
		}()
		c := smtp.NewClient(near, smtp.ClientOptions{})
		ctx := t.Context()
		if err := c.Hello(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(ctx, clientTLS); err != nil {
			t.Fatal(err)
		}
		_ = c.AuthPlain(ctx, "one@demo.test", "wrong-secret")
		_ = c.AuthPlain(ctx, "one@demo.test", "fault")
		if err := c.AuthPlain(ctx, "one@demo.test", "hunter2-secret"); err != nil {
			t.Fatal(err)
		}
		e := &Envelope{Recipients: make([]smtp.Recipient, 2)}
		e.From.Local, e.From.Domain = "one", "demo.test"
		for i, local := range []string{"fault", "unknown"} {
			e.Recipients[i].To.Local, e.Recipients[i].To.Domain = local, "demo.test"
		}
		for range 2 {
			_, _ = c.Send(ctx, e, strings.NewReader("x\r\n"))
			e.Recipients[0].To.Local = "one"
		}
		c.Close()
		synctest.Wait()
		for _, secret := range []string{"wrong-secret", "hunter2"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%q is in the log", secret)
			}
		}
		for msg, n := range map[string]int{
			"login failed": 2, "recipient refused": 2, "message refused": 1, "message accepted": 1, "session ended": 1,
			"disk on fire": 3, "env=id1": 1, "msg=login part=submission conn=conn1": 1,
		} {
			if got := strings.Count(log.String(), msg); got != n {
				t.Errorf("%q %d times, want %d in\n%s", msg, got, n, log.String())
			}
		}
		for name, want := range map[string]float64{"accepted": 1, "refused": 1, "failed": 1, "5xx": 3, "fault": 1} {
			if got := value(t, reg, name); got < want {
				t.Errorf("metric %s: %v", name, got)
			}
		}
	})
}

// value adds up the metrics that have a label of that value.
func value(t *testing.T, reg *prometheus.Registry, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// TestPasswordInMidExchange_handedOver: a SASL exchange cannot be handed over;
// the client may try again, and nothing counts against it.
func TestPasswordInMidExchange_handedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverTLS, clientTLS := certificate(t)
		s := New(Options{Kind: Submission}, &room{}, accounts{})
		var d smtp.Dialogue
		for _, ev := range []smtp.Event{
			{Kind: smtp.EventOpenTLS}, {Data: []byte("EHLO x\r\nAUTH PLAIN\r\n")}, {Kind: smtp.EventChallenge},
			{Data: []byte("AG9uZUBkZW1vLnRlc3QAaHVudGVyMi1zZWNyZXQ=\r\n")},
		} {
			s.machines[0].Step(&d, ev, time.Now(), nil)
		}
		near, far := net.Pipe()
		conn := listen.NewConn(far, listen.Facts{TLS: serverTLS})
		go func() {
			defer far.Close()
			if err := conn.StartTLS(t.Context()); err != nil {
				t.Error(err)
			}
			s.Serve(t.Context(), conn, Beginning{Resumed: true, Dialogue: d})
		}()
		tc := tlsClient(near, clientTLS)
		defer tc.Close()
		buf := make([]byte, 200)
		n, err := tc.Read(buf)
		if got := string(buf[:n]); err != nil || got != "454 4.7.0 Temporary authentication failure\r\n" {
			t.Errorf("%q %v", got, err)
		}
	})
}

func FuzzServeConn(f *testing.F) {
	f.Add([]byte(script))
	f.Add([]byte("EHLO x\r\nSTARTTLS\r\n\x16\x03\x01"))
	f.Fuzz(func(t *testing.T, input []byte) {
		near, far := net.Pipe()
		r := &room{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			New(Options{}, r, nil).ServeConn(ctx, listen.NewConn(far, listen.Facts{}))
			far.Close()
		}()
		said := transcript(near)
		if _, err := near.Write(input); err == nil {
			near.Close()
		}
		<-done
		if got := <-said; !strings.HasPrefix(got, "220 ") && got != "" {
			t.Errorf("%.80q", got)
		}
		near.Close()
		if r.begun != r.taken+r.abandoned || r.opened != r.closed {
			t.Error(fmt.Sprint(r.counts()))
		}
	})
}
