package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// scripted is a server that answers what a map says, by the beginning of the
// line, and writes down what it was sent.
type scripted struct {
	answers map[string]string
	got     []string
	done    chan struct{}
}

func (s *scripted) serve(c net.Conn) {
	defer close(s.done)
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := fmt.Fprint(c, "220 old.test\r\n"); err != nil {
		return
	}
	inData := false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		s.got = append(s.got, strings.TrimSpace(line))
		answer := ""
		for word, a := range s.answers {
			if !inData && strings.HasPrefix(line, word) || inData && word == line {
				answer = a
			}
		}
		if inData = strings.HasPrefix(answer, "354") || inData && answer == ""; answer == "" {
			continue
		}
		if _, err := fmt.Fprintf(c, "%s\r\n", answer); err != nil || strings.HasPrefix(answer, "421") {
			return
		}
	}
}

func dialScripted(t *testing.T, answers map[string]string) (*Client, *scripted) {
	t.Helper()
	all := map[string]string{
		"EHLO": "502 what?", "HELO": "250 old.test", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", ".\r\n": "250 taken",
		"RSET": "250 ok", "NOOP": "250 ok", "QUIT": "221 bye",
	}
	for k, v := range answers {
		all[k] = v
	}
	near, far := net.Pipe()
	s := &scripted{answers: all, done: make(chan struct{})}
	go s.serve(far)
	c := NewClient(near, ClientOptions{Now: time.Now})
	t.Cleanup(func() { c.Close(); <-s.done })
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// TestClient_oldServer: without EHLO there is no pipelining and there are no
// parameters, and DATA is not sent where it would be in vain.
func TestClient_oldServer(t *testing.T) {
	for _, c := range []struct {
		answers map[string]string
		code    int
		want    string
	}{
		{nil, 0, "EHLO localhost|HELO localhost|MAIL FROM:<a@b.example>|RCPT TO:<one@demo.test>|RCPT TO:<two@demo.test>|DATA|x|."},
		{map[string]string{"MAIL": "550 no"}, 550, "EHLO localhost|HELO localhost|MAIL FROM:<a@b.example>|RSET"},
		{map[string]string{"RCPT": "450 later"}, 450, "EHLO localhost|HELO localhost|MAIL FROM:<a@b.example>|RCPT TO:<one@demo.test>|RCPT TO:<two@demo.test>|RSET"},
		{map[string]string{"DATA": "451 no"}, 451, "EHLO localhost|HELO localhost|MAIL FROM:<a@b.example>|RCPT TO:<one@demo.test>|RCPT TO:<two@demo.test>|DATA|RSET"},
		{map[string]string{"DATA": "421 bye"}, 421, "EHLO localhost|HELO localhost|MAIL FROM:<a@b.example>|RCPT TO:<one@demo.test>|RCPT TO:<two@demo.test>|DATA"},
	} {
		cl, s := dialScripted(t, c.answers)
		e := envelopeTo("one", "two")
		e.Size, e.Ret = 3, RetFull
		_, err := cl.Send(t.Context(), e, strings.NewReader("x\r\n"))
		var r *Reply
		code := 0
		if errors.As(err, &r) {
			code = r.Code
		}
		cl.Close()
		<-s.done
		if got := strings.Join(s.got, "|"); code != c.code || got != c.want {
			t.Errorf("%v: %v\n%s\nwant\n%s", c.answers, err, got, c.want)
		}
	}
}

func TestClient_quits(t *testing.T) {
	c, s := dialScripted(t, nil)
	if err := c.StartTLS(t.Context(), nil); !errors.Is(err, ErrNotOffered) {
		t.Errorf("STARTTLS: %v", err)
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	<-s.done
	if got := strings.Join(s.got, "|"); got != "EHLO localhost|HELO localhost|QUIT" {
		t.Error(got)
	}
}

// TestClient_thrownOut: the reply that a server sends before it closes is the
// reason that the caller sees, also where the body was still on its way.
func TestClient_thrownOut(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		buf := make([]byte, 64<<10)
		for _, say := range []string{"220 x\r\n", "250-x\r\n250 PIPELINING\r\n", "250 ok\r\n250 ok\r\n354 go\r\n", "421 4.3.2 shutting down\r\n"} {
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
	if !c.Extensions().Pipelining {
		t.Error("PIPELINING was not seen")
	}
	_, err := c.Send(t.Context(), envelopeTo("one"), strings.NewReader("x\r\n"))
	var r *Reply
	if !errors.As(err, &r) || r.Code != 421 {
		t.Errorf("err %v", err)
	}
}
