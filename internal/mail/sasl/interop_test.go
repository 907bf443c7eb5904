package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	xdg "github.com/xdg-go/scram"
	"pgregory.net/rapid"
)

func saltedPassword(t *testing.T, password string, v Verifier) []byte {
	t.Helper()
	b, err := pbkdf2.Key(sha256.New, password, v.Salt, v.Iterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// handshake returns both ends' states of a real TLS connection and the
// server's certificate.
func handshake(t *testing.T, version uint16) (client, server tls.ConnectionState, leaf *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	cc := tls.Client(a, &tls.Config{RootCAs: pool, ServerName: "mx.test", MaxVersion: version})
	sc := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- sc.Handshake() }()
	if err := cc.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return cc.ConnectionState(), sc.ConnectionState(), leaf
}

// converse runs the other project's client against our server.
func converse(t *testing.T, conv *xdg.ClientConversation, e Exchange) error {
	t.Helper()
	var challenge string
	for {
		out, err := conv.Step(challenge)
		if err != nil {
			t.Fatalf("client: %v", err)
		}
		c, done, err := e.Next(context.Background(), []byte(out))
		if err != nil {
			return err
		}
		if done {
			if !conv.Done() || !conv.Valid() {
				t.Fatal("server is done, client is not content")
			}
			return nil
		}
		challenge = string(c)
	}
}

func TestInterop_xdgClient(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cs, ss, leaf := handshake(t, version)
		exporter, err := xdg.NewTLSExporterBinding(&cs)
		if err != nil {
			t.Fatal(err)
		}
		endpoint, err := xdg.NewTLSServerEndpointBinding(&cs)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name, user, password string
			mech                 string
			bind                 xdg.ChannelBinding
			ok                   bool
		}{
			{"plain mechanism", "one@demo.test", "pencil", ScramSHA256, xdg.ChannelBinding{}, true},
			{"wrong password", "one@demo.test", "pen", ScramSHA256, xdg.ChannelBinding{}, false},
			{"unknown user", "none@demo.test", "pencil", ScramSHA256, xdg.ChannelBinding{}, false},
			{"escaped name, prepared password", "a,b=c@demo.test", "pa\u0308ssword", ScramSHA256, xdg.ChannelBinding{}, true},
			{"exporter", "one@demo.test", "pencil", ScramSHA256Plus, exporter, true},
			{"end point", "one@demo.test", "pencil", ScramSHA256Plus, endpoint, true},
			{"exporter of another connection", "one@demo.test", "pencil", ScramSHA256Plus,
				xdg.ChannelBinding{Type: xdg.ChannelBindingTLSExporter, Data: make([]byte, 32)}, false},
			{"exporter, wrong password", "one@demo.test", "pen", ScramSHA256Plus, exporter, false},
		} {
			t.Run(tls.VersionName(version)+" "+c.name, func(t *testing.T) {
				client, err := xdg.SHA256.NewClient(c.user, c.password, "")
				if err != nil {
					t.Fatal(err)
				}
				conv := client.NewConversation()
				if c.bind.IsSupported() {
					conv = client.NewConversationWithChannelBinding(c.bind)
				}
				e, err := NewWithCertificate(c.mech, newMemory(t), &ss, leaf)
				if err != nil {
					t.Fatal(err)
				}
				if err := converse(t, conv, e); (err == nil) != c.ok {
					t.Errorf("err %v", err)
				}
				if got := e.Identity().Account != 0; got != c.ok {
					t.Errorf("identity %v", e.Identity())
				}
			})
		}
	}
}

func TestInterop_downgradeIsNoticed(t *testing.T) {
	_, ss, _ := handshake(t, tls.VersionTLS13)
	client, err := xdg.SHA256.NewClient("one@demo.test", "pencil", "")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(ScramSHA256, newMemory(t), &ss)
	if err != nil {
		t.Fatal(err)
	}
	if err := converse(t, client.NewConversationAdvertisingChannelBinding(), e); err == nil {
		t.Error("a client that was told of no PLUS got in")
	}
}

// TestPrepare_agreesWithSASLprep: whatever the other project's SASLprep
// accepts gives the same keys as ours.
func TestPrepare_agreesWithSASLprep(t *testing.T) {
	alphabet := []rune("aZ0 ~é\u0301\u00a0\u00ad\u1680\u2003\u200b\u200d\u2060\ufeff\ufe0f\u3000ﬁⅣªßÅ日本ا")
	salt := []byte("0123456789abcdef")
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.OneOf(rapid.SampledFrom(alphabet), rapid.Rune()), 1, 8, -1).Draw(t, "password")
		client, err := xdg.SHA256.NewClient("u", s, "")
		if err != nil {
			return // SASLprep prohibits it
		}
		accepted++
		want, err := client.GetStoredCredentialsWithError(xdg.KeyFactors{Salt: string(salt), Iters: 4096})
		if err != nil {
			t.Fatal(err)
		}
		got, err := NewVerifier(s, salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.StoredKey[:]) != string(want.StoredKey) || string(got.ServerKey[:]) != string(want.ServerKey) {
			t.Fatalf("%+q: prepared as %+q", s, Prepare(s))
		}
	})
	if accepted == 0 {
		t.Error("nothing was compared")
	}
}
