package pop3

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// tlsConn is a connection that can really start TLS.
type tlsConn struct {
	net.Conn
	config *tls.Config
}

func (c *tlsConn) StartTLS(ctx context.Context) error {
	t := tls.Server(c.Conn, c.config)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn = t
	return nil
}

func (c *tlsConn) ConnectionState() (tls.ConnectionState, bool) {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return t.ConnectionState(), true
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// scramHost has a verifier beside its password.
type scramHost struct {
	*fakeHost
	verifier sasl.Verifier
}

func (h scramHost) Scram(ctx context.Context, user string) (sasl.Verifier, error) {
	return h.verifier, nil
}

// A client logs in by SCRAM, bound to the channel, behind a real STLS.
func TestSession_stlsAndScramPlus(t *testing.T) {
	host := &fakeHost{texts: [][]byte{[]byte("Subject: x\r\n\r\n")}}
	v, err := sasl.NewVerifier("sesame", []byte("saltsalt"), sasl.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	if v.Identity, err = host.Password(t.Context(), fakeUser, fakePassword); err != nil {
		t.Fatal(err)
	}
	srv := newServer(Options{}, scramHost{host, v}, host)
	raw, server := net.Pipe()
	go srv.ServeConn(t.Context(), &tlsConn{server, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})

	c := &lineClient{t: t, Conn: raw, in: bufio.NewReader(raw)}
	c.expect("+OK ")
	c.ask("STLS", "+OK ")
	secure := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.Conn, c.in = secure, bufio.NewReader(secure)

	client, err := scram.SHA256.NewClient(fakeUser, "sesame", "")
	if err != nil {
		t.Fatal(err)
	}
	binding, err := scram.NewTLSExporterBinding(new(secure.ConnectionState()))
	if err != nil {
		t.Fatal(err)
	}
	talk := client.NewConversationWithChannelBinding(binding)
	say := "AUTH SCRAM-SHA-256-PLUS"
	challenge := ""
	for !talk.Done() {
		response, err := talk.Step(challenge)
		if err != nil {
			t.Fatal(err)
		}
		if challenge == "" {
			say += " "
		} else {
			say = ""
		}
		line := c.ask(say+base64.StdEncoding.EncodeToString([]byte(response)), "+")
		decoded, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "+ "))
		challenge = string(decoded)
	}
	if !talk.Valid() {
		t.Fatal("the server did not prove that it knows the verifier")
	}
	c.ask("STAT", "+OK 1 ")
	c.ask("QUIT", "+OK ")
}

// lineClient speaks line by line.
type lineClient struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (c *lineClient) ask(line, want string) string {
	c.t.Helper()
	if _, err := c.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatal(err)
	}
	return c.expect(want)
}

func (c *lineClient) expect(want string) string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("said %q, %v; want %q", line, err, want)
	}
	return strings.TrimSuffix(line, "\r\n")
}
