package session

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// faulty is a backend whose n-th call meets a fault.
type faulty struct {
	n     int
	hangs bool // the fault is silence
}

func (f *faulty) fault(ctx context.Context) error {
	if f.n--; f.n != 0 {
		return nil
	}
	if f.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return errDisk
}

func (f *faulty) Password(ctx context.Context, _, _ string) (sasl.Identity, error) {
	return sasl.Identity{}, f.fault(ctx)
}

func (f *faulty) Scram(ctx context.Context, _ string) (sasl.Verifier, error) {
	return sasl.Verifier{
		Salt: []byte("sixteen octets!!"), Iterations: sasl.MinIterations,
		Identity: sasl.Identity{Account: 7, Address: message.Address{Local: "one", Domain: "demo.test"}},
	}, f.fault(ctx)
}

// TestAuth_faultIsNeverAWrongPassword is incident auth-broken: whatever fails
// behind any mechanism, at whichever step, the client hears 454 and not 535,
// and it counts against nobody (RFC 4954 §6).
func TestAuth_faultIsNeverAWrongPassword(t *testing.T) {
	for _, c := range []struct {
		mech string
		call int
	}{
		{sasl.Plain, 1}, {sasl.Login, 1},
		{sasl.ScramSHA256, 1}, {sasl.ScramSHA256, 2}, {sasl.ScramSHA256Plus, 1}, {sasl.ScramSHA256Plus, 2},
	} {
		for _, hangs := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s call %d hangs %v", c.mech, c.call, hangs), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { authFault(t, c.mech, &faulty{n: c.call, hangs: hangs}) })
			})
		}
	}
}

func authFault(t *testing.T, mech string, f *faulty) {
	serverTLS, clientTLS := certificate(t)
	near, far := net.Pipe()
	defer near.Close()
	o := Options{Kind: Submission, OnLogin: func(netip.Addr, bool) { t.Error("the fault was told as a login") }}
	go func() {
		defer far.Close()
		New(o, &room{}, f).ServeConn(t.Context(), listen.NewConn(far, listen.Facts{TLS: serverTLS}))
	}()
	c := &authClient{t: t, c: near, r: bufio.NewReader(near)}
	c.say("")
	c.say("EHLO client.example")
	c.say("STARTTLS")
	tc := tls.Client(near, clientTLS)
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.c, c.r = tc, bufio.NewReader(tc)
	c.say("EHLO client.example")
	if got := c.login(mech, tc); got != "454 4.7.0 Temporary authentication failure" {
		t.Errorf("client was told %q", got)
	}
	if got := c.say("NOOP"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("then %q", got)
	}
}

// authClient is just enough of a client.
type authClient struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

// say sends a line, unless it is empty, and returns the last line of the reply.
func (c *authClient) say(line string) string {
	c.t.Helper()
	if line != "" {
		if _, err := fmt.Fprintf(c.c, "%s\r\n", line); err != nil {
			c.t.Fatal(err)
		}
	}
	for {
		got, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		if len(got) < 4 || got[3] != '-' {
			return strings.TrimSpace(got)
		}
	}
}

// login goes through an exchange until the server has had enough. Its proof is
// no proof: none of the faults lets it be looked at.
func (c *authClient) login(mech string, tc *tls.Conn) string {
	c.t.Helper()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	switch mech {
	case sasl.Plain:
		return c.say("AUTH PLAIN " + b64("\x00one@demo.test\x00hunter2-secret"))
	case sasl.Login:
		c.say("AUTH LOGIN " + b64("one@demo.test"))
		return c.say(b64("hunter2-secret"))
	}
	gs2, binding := "n,,", ""
	if mech == sasl.ScramSHA256Plus {
		cs := tc.ConnectionState()
		data, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32) // RFC 9266 §4.2
		if err != nil {
			c.t.Fatal(err)
		}
		gs2, binding = "p=tls-exporter,,", string(data)
	}
	got := c.say("AUTH " + mech + " " + b64(gs2+"n=one@demo.test,r=client"))
	first, ok := strings.CutPrefix(got, "334 ")
	if !ok {
		return got
	}
	challenge, err := base64.StdEncoding.DecodeString(first)
	if err != nil {
		c.t.Fatal(err)
	}
	nonce, _, _ := strings.Cut(string(challenge), ",")
	return c.say(b64("c=" + b64(gs2+binding) + "," + nonce + ",p=" + b64(strings.Repeat("p", 32))))
}

// reviewed is a backend that takes logins back.
type reviewed struct {
	accounts
	gone *bool
}

func (r reviewed) Current(id sasl.Identity) bool { return id.Account != 7 || !*r.gone }

// TestMail_afterTheLoginWasTakenBack: a thief who is connected when the
// password is changed sends no more.
func TestMail_afterTheLoginWasTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverTLS, clientTLS := certificate(t)
		near, far := net.Pipe()
		defer near.Close()
		gone := false
		go func() {
			defer far.Close()
			s := New(Options{Users: &room{}}, &room{}, reviewed{gone: &gone})
			s.ServeConn(t.Context(), listen.NewConn(far, listen.Facts{TLS: serverTLS}))
		}()
		c := &authClient{t: t, c: near, r: bufio.NewReader(near)}
		c.say("")
		c.say("EHLO client.example")
		c.say("STARTTLS")
		tc := tls.Client(near, clientTLS)
		c.c, c.r = tc, bufio.NewReader(tc)
		c.say("EHLO client.example")
		if got := c.login(sasl.Plain, tc); !strings.HasPrefix(got, "235 ") {
			t.Fatal(got)
		}
		if got := c.say("MAIL FROM:<one@demo.test>"); !strings.HasPrefix(got, "250 ") {
			t.Error(got)
		}
		// It counts at each step of a transaction that was begun before.
		c.say("RCPT TO:<one@demo.test>")
		gone = true
		for _, line := range []string{"RCPT TO:<two@demo.test>", "DATA"} {
			if got := c.say(line); !strings.HasPrefix(got, "530 5.7.0 ") {
				t.Errorf("%s: %s", line, got)
			}
		}
		gone = false
		for _, line := range []string{"MAIL FROM:<one@demo.test>", "RCPT TO:<one@demo.test>", "DATA"} {
			c.say(line)
		}
		gone = true
		if got := c.say("Subject: x\r\n\r\nx\r\n."); !strings.HasPrefix(got, "530 5.7.0 ") {
			t.Errorf("the end of a message: %s", got)
		}
		if got := c.say("MAIL FROM:<one@demo.test>"); !strings.HasPrefix(got, "530 5.7.0 ") {
			t.Error(got)
		}
		if got := c.say("RCPT TO:<one@demo.test>"); !strings.HasPrefix(got, "503 ") {
			t.Error(got)
		}
	})
}
