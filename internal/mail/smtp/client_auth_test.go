package smtp

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// talk is a server that says one line after another: each after it has read a
// line that begins as it should.
func talk(t *testing.T, lines ...string) *Client {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		r := bufio.NewReader(far)
		for i, line := range lines {
			want, say, found := strings.Cut(line, " => ")
			if !found {
				want, say = "", line
			}
			if i > 0 {
				got, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if got = strings.TrimRight(got, "\r\n"); found && got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if _, err := fmt.Fprint(far, strings.ReplaceAll(say, `\n`, "\r\n")+"\r\n"); err != nil {
				return
			}
		}
		_, _ = r.ReadString('\n') // the client closes
	}()
	c := NewClient(near, ClientOptions{})
	c.tls = true // as if
	t.Cleanup(func() { _ = c.Close(); <-done })
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// The exchange is the example of RFC 7677 §3.
const (
	scramNonce     = "rOprNGfwEbeRWgbNEkqO"
	scramChallenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	scramAnswer    = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	scramSignature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func TestClient_logsIn(t *testing.T) {
	login := Login{User: "user", Password: "pencil", Nonce: scramNonce}
	for name, lines := range map[string][]string{
		"SCRAM": {
			`250-x\n250 AUTH PLAIN LOGIN SCRAM-SHA-256`,
			"AUTH SCRAM-SHA-256 " + b64("n,,n=user,r="+scramNonce) + " => 334 " + b64(scramChallenge),
			b64(scramAnswer) + " => 334 " + b64(scramSignature),
			" => 235 2.7.0 in",
		},
		"PLAIN": {`250-x\n250 AUTH login plain`, "AUTH PLAIN " + b64("\x00user\x00pencil") + " => 235 2.7.0 in"},
		"LOGIN": {`250-x\n250 AUTH LOGIN`, "AUTH LOGIN => 334 VXNlcm5hbWU6", b64("user") + " => 334 UGFzc3dvcmQ6", b64("pencil") + " => 235 in"},
	} {
		c := talk(t, append([]string{"220 x"}, lines...)...)
		if err := c.Auth(t.Context(), login); err != nil || !c.Usable() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClient_isNotLoggedIn(t *testing.T) {
	login := Login{User: "user", Password: "pencil", Nonce: scramNonce}
	scram := []string{"220 x", `250-x\n250 AUTH SCRAM-SHA-256`}
	for name, c := range map[string]struct {
		lines []string
		want  error
	}{
		"nothing known": {[]string{"220 x", `250-x\n250 AUTH GSSAPI`}, ErrMechanism},
		"no AUTH":       {[]string{"220 x", `250-x\n250 SIZE`}, ErrMechanism},
		"another nonce": {append(scram, "334 "+b64("r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")), ErrClientScram},
		"our nonce":     {append(scram, "334 "+b64("r="+scramNonce+",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")), ErrClientScram},
		"endless work":  {append(scram, "334 "+b64("r="+scramNonce+"x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000")), ErrClientScram},
		"no salt":       {append(scram, "334 "+b64("r="+scramNonce+"x,s=,i=4096")), ErrClientScram},
		"no base64":     {append(scram, "334 ?!"), ErrClientScram},
		"too early":     {append(scram, "235 in"), ErrClientSequence},
		"liar":          {append(scram, "334 "+b64(scramChallenge), "334 "+b64("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=")), ErrClientScram},
		"hurried":       {append(scram, "334 "+b64(scramChallenge), "235 in"), ErrClientSequence},
	} {
		cl := talk(t, c.lines...)
		if err := cl.Auth(t.Context(), login); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := talk(t, "220 x", `250-x\n250 AUTH PLAIN`, "535 5.7.8 no")
	var r *Reply
	if err := c.Auth(t.Context(), login); !errors.As(err, &r) || r.Code != 535 || !c.Usable() {
		t.Errorf("refused: %v", err)
	}
	c = talk(t, "220 x", `250-x\n250 AUTH PLAIN SCRAM-SHA-256`)
	c.tls = false
	if err := c.Auth(t.Context(), login); !errors.Is(err, ErrClientPlain) {
		t.Errorf("in the clear: %v", err)
	}
}

func TestClient_extensions(t *testing.T) {
	c := talk(t, "220 x", `250-mx.example hello\n250-REQUIRETLS\n250-LIMITS RCPTMAX=20 MAILMAX=5\n250 SIZE 10`)
	x := c.Extensions()
	if !x.RequireTLS || x.RecipientMax != 20 || x.MessageMax != 5 || x.SizeMax != 10 || c.Peer() != "mx.example" {
		t.Errorf("%+v, %q", x, c.Peer())
	}
	e := Envelope{RequireTLS: true}
	if got := string(AppendMail(nil, &e, x)); got != "MAIL FROM:<> REQUIRETLS" {
		t.Error(got)
	}
}

// lmtpPeer is a go-smtp server in LMTP mode: an independent implementation.
type lmtpPeer struct{ peer }

func (p *lmtpPeer) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return p, nil }

// LMTPData takes the message for all but "full".
func (p *lmtpPeer) LMTPData(r io.Reader, status gosmtp.StatusCollector) error {
	if err := p.Data(r); err != nil {
		return err
	}
	status.SetStatus("one@demo.test", nil)
	status.SetStatus("full@demo.test", &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 2, 2}, Message: "full"})
	return nil
}

func TestClient_lmtpAgainstGoSMTP(t *testing.T) {
	p := &lmtpPeer{}
	srv := gosmtp.NewServer(p)
	srv.Domain, srv.LMTP = "peer.test", true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	for _, chunking := range []bool{false, true} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := NewClient(conn, ClientOptions{LMTP: true, Now: time.Now, Chunking: chunking})
		if err := c.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			rc, err := c.Send(t.Context(), envelopeTo("one", "unknown", "full"), strings.NewReader("Subject: x\r\n\r\n.x\r\n"))
			if err != nil || len(rc.Each) != 3 || rc.Verdict(0).Code != 250 || rc.Verdict(1).Code != 550 || rc.Verdict(2).Code != 452 {
				t.Errorf("chunking %v: %v, %+v", chunking, err, rc)
			}
		}
		if err := c.Quit(t.Context()); err != nil {
			t.Error(err)
		}
	}
	srv.Close()
	<-done
	if len(p.bodies) != 4 || string(p.bodies[3]) != "Subject: x\r\n\r\n.x\r\n" {
		t.Errorf("%q", p.bodies)
	}
}
