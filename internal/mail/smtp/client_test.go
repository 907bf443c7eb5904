package smtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// dial connects a client to a shell over a pipe.
func dial(t *testing.T, m *Machine, o ClientOptions) (*Client, *shell) {
	t.Helper()
	near, far := net.Pipe()
	s := newShell(t, m)
	s.now = time.Now()
	go s.serve(far, EventOpen)
	c := NewClient(near, o)
	t.Cleanup(func() { c.Close() })
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, s
}

func envelopeTo(locals ...string) *Envelope {
	e := &Envelope{From: message.Address{Local: "a", Domain: "b.example"}}
	for _, l := range locals {
		e.Recipients = append(e.Recipients, Recipient{To: message.Address{Local: l, Domain: "demo.test"}})
	}
	return e
}

func TestClient_sends(t *testing.T) {
	long := strings.Repeat("0123456789abcdef.\r\n", 10_000)
	for _, body := range []string{"", "x", "x\r\n", ".\r\n", "..\r\n.x\r\n\r\n.", long, "." + long} {
		for _, chunking := range []bool{false, true} {
			c, s := dial(t, NewMachine(Options{}), ClientOptions{Chunking: chunking, Now: time.Now})
			for range 2 { // the connection is used again
				if _, err := c.Send(t.Context(), envelopeTo("one", "two"), strings.NewReader(body)); err != nil {
					t.Fatalf("%.20q chunking=%v: %v", body, chunking, err)
				}
			}
			if err := c.Quit(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := body
			if !chunking && body != "" && !strings.HasSuffix(body, "\r\n") {
				want += "\r\n"
			}
			for _, got := range s.bodies {
				if got != want {
					t.Errorf("%.20q chunking=%v: got %.40q", body, chunking, got)
				}
			}
			if len(s.bodies) != 2 {
				t.Errorf("%.20q chunking=%v: %d bodies", body, chunking, len(s.bodies))
			}
		}
	}
}

func TestClient_refusals(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		c, s := dial(t, NewMachine(Options{SizeMax: 100}), ClientOptions{Chunking: chunking, Now: time.Now})
		for _, step := range []struct {
			from string
			to   []string
			body string
			code int // 0 is accepted
		}{
			{"a", []string{"unknown"}, "x\r\n", 550},
			{"a", []string{"unknown", "later"}, "x\r\n", 450},
			{"a", []string{"unknown", "one"}, "x\r\n", 0},
			{"nobegin", []string{"one"}, "x\r\n", 452},
			{"a", []string{"full"}, "x\r\n", 552},
			{"a", []string{"fault"}, "x\r\n", 451},
			{"a", []string{"one"}, strings.Repeat("x", 120) + "\r\n", 552},
			{"a", []string{"one"}, "x\r\n", 0},
		} {
			e := envelopeTo(step.to...)
			e.From.Local = step.from
			rc, err := c.Send(t.Context(), e, strings.NewReader(step.body))
			var r *Reply
			code := 0
			if errors.As(err, &r) {
				code = r.Code
			} else if err != nil {
				t.Fatalf("%v chunking=%v: %v", step, chunking, err)
			}
			if code != step.code {
				t.Errorf("%v chunking=%v: code %d (%v)", step, chunking, code, err)
			}
			if len(rc.Recipients) != len(step.to) {
				t.Errorf("%v chunking=%v: %d replies to recipients", step, chunking, len(rc.Recipients))
			}
		}
		if len(s.bodies) != 2 {
			t.Errorf("chunking=%v: bodies %q", chunking, s.bodies)
		}
	}
}

func TestClient_manyRecipients(t *testing.T) {
	c, s := dial(t, NewMachine(Options{}), ClientOptions{Now: time.Now})
	var locals []string
	for range 900 {
		locals = append(locals, "recipient-with-a-long-name")
	}
	rc, err := c.Send(t.Context(), envelopeTo(locals...), strings.NewReader("x\r\n"))
	if err != nil || len(rc.Recipients) != 900 || len(s.envs[0].Recipients) != 900 {
		t.Fatalf("%v, %d replies", err, len(rc.Recipients))
	}
}

func TestClient_parametersArrive(t *testing.T) {
	c, s := dial(t, NewMachine(Options{}), ClientOptions{Now: time.Now})
	e := envelopeTo("one", "grüße")
	e.Size, e.Body, e.UTF8, e.Ret, e.EnvID = 3, Body8BitMIME, true, RetHeaders, "QQ+2B1"
	e.Recipients[0].Notify = NotifySuccess | NotifyDelay
	e.Recipients[0].Orcpt = "rfc822;one+2B@demo.test"
	if _, err := c.Send(t.Context(), e, strings.NewReader("x\r\n")); err != nil {
		t.Fatal(err)
	}
	got := s.envs[0]
	if got.Size != 3 || got.Body != e.Body || !got.UTF8 || got.Ret != e.Ret || got.EnvID != e.EnvID || got.From != e.From ||
		len(got.Recipients) != 2 || got.Recipients[0] != e.Recipients[0] || got.Recipients[1] != e.Recipients[1] {
		t.Errorf("got %+v", got)
	}
	if got.Protocol != "UTF8SMTP" || got.Helo != "localhost" {
		t.Errorf("protocol %q, helo %q", got.Protocol, got.Helo)
	}
}

func TestClient_bareLineEndsAreNotSent(t *testing.T) {
	for _, body := range []string{"a\nb\r\n", "\n", "a\rb\r\n", "a\r", "a\r\r\n", "x\n.\r\nMAIL FROM:<>\r\n"} {
		for size := 1; size <= 3; size++ {
			c, s := dial(t, NewMachine(Options{}), ClientOptions{Now: time.Now})
			_, err := c.Send(t.Context(), envelopeTo("one"), struct{ io.Reader }{&slowly{strings.NewReader(body), size}})
			if !errors.Is(err, ErrBody) {
				t.Errorf("%q by %d: %v", body, size, err)
			}
			c.Close()
			if len(s.bodies) != 0 {
				t.Errorf("%q by %d: %q was taken", body, size, s.bodies)
			}
		}
	}
}

// slowly reads a few octets at a time.
type slowly struct {
	r io.Reader
	n int
}

func (s *slowly) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func TestClient_plainNeedsTLS(t *testing.T) {
	c, _ := dial(t, NewMachine(Options{Mechanisms: []string{"PLAIN"}}), ClientOptions{})
	if err := c.AuthPlain(t.Context(), "one", "secret"); !errors.Is(err, ErrClientPlain) {
		t.Errorf("err %v", err)
	}
}

func TestClient_injectedAfterSTARTTLS(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		buf := make([]byte, 100)
		for _, say := range []string{"220 x\r\n", "250-x\r\n250 STARTTLS\r\n", "220 go\r\n250 injected\r\n"} {
			if _, err := far.Write([]byte(say)); err != nil {
				return
			}
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	c := NewClient(near, ClientOptions{})
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(t.Context(), nil); !errors.Is(err, ErrClientInjected) {
		t.Errorf("err %v", err)
	}
}

func TestClient_waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		began := time.Now()
		err := NewClient(near, ClientOptions{Now: time.Now}).Hello(t.Context())
		if got := time.Since(began); err == nil || got != 5*time.Minute {
			t.Errorf("gave up after %v: %v", got, err)
		}
		near, far = net.Pipe()
		defer near.Close()
		defer far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := NewClient(near, ClientOptions{}).Hello(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err %v", err)
		}
	})
}

// peer is a go-smtp server's backend: an independent implementation.
type peer struct{ bodies [][]byte }

func (p *peer) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return p, nil }
func (p *peer) Reset()                                          {}
func (p *peer) Logout() error                                   { return nil }
func (p *peer) Mail(string, *gosmtp.MailOptions) error          { return nil }
func (p *peer) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "unknown@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no"}
	}
	return nil
}

func (p *peer) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	p.bodies = append(p.bodies, b)
	return err
}

func TestClient_againstGoSMTP(t *testing.T) {
	p := &peer{}
	srv := gosmtp.NewServer(p)
	srv.Domain, srv.EnableDSN, srv.EnableSMTPUTF8 = "peer.test", true, true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	body := []byte("Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n")
	for _, chunking := range []bool{false, true} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := NewClient(conn, ClientOptions{Now: time.Now, Chunking: chunking})
		if err := c.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		rc, err := c.Send(t.Context(), envelopeTo("one", "unknown"), bytes.NewReader(body))
		if err != nil || rc.Recipients[1].Enhanced != "5.1.1" || rc.Recipients[1].Text != "no" {
			t.Errorf("chunking=%v: %v, %+v", chunking, err, rc)
		}
		if err := c.Quit(t.Context()); err != nil {
			t.Error(err)
		}
	}
	srv.Close()
	<-done
	if len(p.bodies) != 2 || !bytes.Equal(p.bodies[0], body) || !bytes.Equal(p.bodies[1], body) {
		t.Errorf("bodies %q", p.bodies)
	}
}
