package smtp

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answering is a server that says one thing after another, each when something
// has come in, and reads on in the end.
func answering(t *testing.T, o ClientOptions, say ...string) *Client {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		buf := make([]byte, 256<<10)
		for i, s := range say {
			if i > 0 {
				if _, err := far.Read(buf); err != nil {
					return
				}
			}
			if _, err := io.WriteString(far, s); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, far)
	}()
	t.Cleanup(func() { near.Close() })
	return NewClient(near, o)
}

const (
	offerAll  = "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
	offerPipe = "250-x\r\n250 PIPELINING\r\n"
)

// TestClient_desynchronised: which reply belongs to which command is never in
// doubt, or the connection is given up.
func TestClient_desynchronised(t *testing.T) {
	for name, c := range map[string]struct {
		say  []string
		want error
	}{
		"before EHLO":    {[]string{"220 x\r\n250 early\r\n"}, ErrClientUnasked},
		"octets first":   {[]string{"junk\r\n220 x\r\n"}, ErrReply},
		"before MAIL":    {[]string{"220 x\r\n", offerPipe + "250 early\r\n"}, ErrClientUnasked},
		"before body":    {[]string{"220 x\r\n", offerPipe, "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"}, ErrClientUnasked},
		"354 to MAIL":    {[]string{"220 x\r\n", offerPipe, "354 go\r\n"}, ErrClientSequence},
		"354 to RCPT":    {[]string{"220 x\r\n", offerPipe, "250 ok\r\n354 go\r\n"}, ErrClientSequence},
		"250 to DATA":    {[]string{"220 x\r\n", offerPipe, "250 ok\r\n250 ok\r\n250 ok\r\n"}, ErrClientSequence},
		"354 at the end": {[]string{"220 x\r\n", offerPipe, "250 ok\r\n250 ok\r\n354 go\r\n", "354 go on\r\n"}, ErrClientSequence},
		"250 as banner":  {[]string{"250 x\r\n"}, ErrClientSequence},
	} {
		cl := answering(t, ClientOptions{}, c.say...)
		err := cl.Hello(t.Context())
		if err == nil {
			_, err = cl.Send(t.Context(), envelopeTo("one"), strings.NewReader("x\r\n"))
		}
		if !errors.Is(err, c.want) || cl.Usable() {
			t.Errorf("%s: %v, usable %v", name, err, cl.Usable())
		}
		if _, err := cl.Send(t.Context(), envelopeTo("one"), strings.NewReader("x\r\n")); err == nil {
			t.Errorf("%s: it goes on", name)
		}
	}
}

// TestClient_oversized: replies are bounded in lines, octets and the work that
// they are.
func TestClient_oversized(t *testing.T) {
	for name, say := range map[string]string{
		"line":        "220 " + strings.Repeat("x", 1<<20),
		"no end":      strings.Repeat("220-x\r\n", 100_000),
		"wide":        strings.Repeat("220-"+strings.Repeat("x", 4000)+"\r\n", 300),
		"code at end": strings.Repeat("220-x\r\n", 100) + "550 x\r\n",
	} {
		if err := answering(t, ClientOptions{}, say).Hello(t.Context()); !errors.Is(err, ErrReply) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClient_endSent: the Receipt says when a message may have been taken
// without our knowing.
func TestClient_endSent(t *testing.T) {
	for name, c := range map[string]struct {
		say      []string
		chunking bool
		ended    bool
	}{
		"lost at MAIL":       {[]string{"220 x\r\n", offerPipe, ""}, false, false},
		"421 at once":        {[]string{"220 x\r\n", offerAll, "421 bye\r\n"}, true, false},
		"lost in one write":  {[]string{"220 x\r\n", offerAll, "250 ok\r\n"}, true, true},
		"lost at the end":    {[]string{"220 x\r\n", offerPipe, "250 ok\r\n250 ok\r\n354 go\r\n", ""}, false, true},
		"refused recipients": {[]string{"220 x\r\n", offerAll, "250 ok\r\n550 no\r\n503 no\r\n", "250 reset\r\n"}, true, false},
	} {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			buf := make([]byte, 64<<10)
			for i, s := range c.say {
				if i > 0 {
					if _, err := far.Read(buf); err != nil {
						return
					}
				}
				if _, err := io.WriteString(far, s); err != nil {
					return
				}
			}
		}()
		cl := NewClient(near, ClientOptions{Chunking: c.chunking})
		if err := cl.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		rc, err := cl.Send(t.Context(), envelopeTo("one"), strings.NewReader("x\r\n"))
		if err == nil || rc.Ended != c.ended {
			t.Errorf("%s: %v, ended %v", name, err, rc.Ended)
		}
		near.Close()
	}
}

// TestClient_mailRefusedRcptTaken: where the server thinks that there is a
// recipient, an empty message would be delivered.
func TestClient_mailRefusedRcptTaken(t *testing.T) {
	c := answering(t, ClientOptions{}, "220 x\r\n", offerPipe, "550 no\r\n250 ok\r\n354 go\r\n", "250 taken\r\n")
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	rc, err := c.Send(t.Context(), envelopeTo("one"), strings.NewReader("x\r\n"))
	var r *Reply
	if !errors.As(err, &r) || r.Code != 550 || c.Usable() || rc.Ended || rc.Verdict(0).Code != 550 {
		t.Errorf("%v, usable %v, %+v", err, c.Usable(), rc)
	}
}

// TestClient_dripping: a reply has to be whole in its time, and so has all
// that comes before MAIL.
func TestClient_dripping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			for {
				time.Sleep(time.Minute)
				if _, err := far.Write([]byte("2")); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		err := NewClient(near, ClientOptions{Now: time.Now}).Hello(t.Context())
		if took := time.Since(began); err == nil || took != 5*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		far.Close()
		time.Sleep(10 * time.Minute) // the server notices
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			buf := make([]byte, 4096)
			for _, say := range []string{"220 x\r\n", offerPipe, "250 ok\r\n"} {
				time.Sleep(299 * time.Second)
				if _, err := far.Write([]byte(say)); err != nil {
					return
				}
				if _, err := far.Read(buf); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		c := NewClient(near, ClientOptions{Now: time.Now, Times: ClientTimes{Setup: 6 * time.Minute}})
		err := c.Hello(t.Context())
		if took := time.Since(began); err == nil || took != 6*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		far.Close()
		time.Sleep(10 * time.Minute) // the server notices
	})
}

// TestClient_chunks: a large body goes in several, and no further than the
// server wants it.
func TestClient_chunks(t *testing.T) {
	body := strings.Repeat("0123456789abcdef\r\n", clientChunk/8)
	c, s := dial(t, NewMachine(Options{SizeMax: 100 << 20}), ClientOptions{Chunking: true, Now: time.Now})
	if _, err := c.Send(t.Context(), envelopeTo("one"), strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if len(s.bodies) != 1 || s.bodies[0] != body {
		t.Errorf("%d bodies", len(s.bodies))
	}
	c, s = dial(t, NewMachine(Options{SizeMax: clientChunk}), ClientOptions{Chunking: true, Now: time.Now})
	rc, err := c.Send(t.Context(), envelopeTo("one"), strings.NewReader(body))
	if r := rc.Verdict(0); err == nil || r == nil || r.Code != 552 || rc.Ended || !c.Usable() {
		t.Errorf("%v, %+v, usable %v", err, rc, c.Usable())
	}
	if len(s.bodies) != 0 {
		t.Errorf("%d bodies", len(s.bodies))
	}
}
