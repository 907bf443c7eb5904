package smtp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// secureServer is the server's end of a connection under TLS.
func secureServer(t *testing.T, conn net.Conn, version uint16) *tls.Conn {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Server(conn, &tls.Config{MaxVersion: version, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
}

// scramServer lets in who knows the password "pencil" over its connection, and
// tells by which mechanism, with which header.
func scramServer(s *tls.Conn, offers string) (mechanism, header string, err error) {
	r := bufio.NewReader(s)
	say := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(s, format+"\r\n", args...)
		}
	}
	hear := func() string {
		line, rerr := r.ReadString('\n')
		if err == nil {
			err = rerr
		}
		return strings.TrimRight(line, "\r\n")
	}
	plain := func(s string) string {
		b, derr := base64.StdEncoding.DecodeString(s)
		if err == nil {
			err = derr
		}
		return string(b)
	}
	say("220 x")
	hear()
	say("250-x\r\n250 AUTH %s", offers)
	line := strings.Fields(hear() + " x x x")
	mechanism = line[1]
	header, first, _ := strings.Cut(plain(line[2]), ",,")
	challenge := "r=" + first[strings.Index(first, "r=")+2:] + "server,s=" + b64("salt") + ",i=4096"
	say("334 %s", b64(challenge))
	final := plain(hear())
	without, proof, _ := strings.Cut(final, ",p=")
	bound := header + ",,"
	if strings.HasPrefix(header, "p=") {
		state := s.ConnectionState()
		ekm, eerr := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if eerr != nil {
			return mechanism, header, eerr
		}
		bound += string(ekm)
	}
	if !strings.HasPrefix(without, "c="+b64(bound)+",") {
		return mechanism, header, fmt.Errorf("bound to something else: %s", without)
	}
	salted, perr := pbkdf2.Key(sha256.New, "pencil", []byte("salt"), 4096, sha256.Size)
	if perr != nil {
		return mechanism, header, perr
	}
	said := first + "," + challenge + "," + without
	stored := sha256.Sum256(mac(salted, "Client Key"))
	key := []byte(plain(proof))
	subtle.XORBytes(key, key, mac(stored[:], said))
	if sha256.Sum256(key) != stored {
		return mechanism, header, fmt.Errorf("wrong proof")
	}
	say("334 %s", b64("v="+b64(string(mac(mac(salted, "Server Key"), said)))))
	hear()
	say("235 2.7.0 in")
	hear() // the client closes
	return mechanism, header, nil
}

// TestClient_bindsScram: where both sides can, a login is worth something on
// this connection only; where only we can, the server is told.
func TestClient_bindsScram(t *testing.T) {
	for _, c := range []struct {
		offers    string
		version   uint16
		mechanism string
		header    string
	}{
		{"PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", tls.VersionTLS13, "SCRAM-SHA-256-PLUS", "p=tls-exporter"},
		{"PLAIN SCRAM-SHA-256", tls.VersionTLS13, "SCRAM-SHA-256", "y"},
		{"PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", tls.VersionTLS12, "SCRAM-SHA-256", "n"},
	} {
		near, far := net.Pipe()
		s := secureServer(t, far, c.version)
		done := make(chan struct{})
		var mechanism, header string
		var served error
		go func() {
			defer close(done)
			defer far.Close()
			mechanism, header, served = scramServer(s, c.offers)
		}()
		conn := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
		if err := conn.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		cl := NewClient(conn, ClientOptions{})
		if err := cl.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := cl.Auth(t.Context(), Login{User: "user", Password: "pencil", Nonce: scramNonce}); err != nil || !cl.Usable() {
			t.Errorf("%+v: %v", c, err)
		}
		near.Close()
		<-done
		if mechanism != c.mechanism || header != c.header || served != nil {
			t.Errorf("%+v: %s, %s, %v", c, mechanism, header, served)
		}
	}
}
