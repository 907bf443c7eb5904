package session

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// room is a Mailroom whose decisions stand in the local parts of addresses.
type room struct {
	mu                      sync.Mutex
	begun, taken, abandoned int // guarded by mu
	opened, closed          int
	bodies                  []string
	envs                    []Envelope
}

var errDisk = errors.New("disk on fire at /secret/path")

func (r *room) Open(_ context.Context, e *Envelope) (Transaction, error) {
	switch {
	case e.Account != 0 && e.From.Local != "one":
		return nil, &smtp.Reply{Code: 553, Enhanced: "5.7.1", Text: "Not an address of " + e.User.String()}
	case e.From.Local == "spammer":
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Go away"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened++
	return &transaction{room: r, e: e}, nil
}

// transaction is one of a room; it panics when its rules are broken.
type transaction struct {
	*room
	e            *Envelope
	asked        []message.Address // and accepted
	body         *body
	begun, ended bool
}

func (x *transaction) Close() {
	if x.ended || x.body != nil && !x.body.over {
		panic("a transaction is closed twice, or before its body has ended")
	}
	x.ended = true
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed++
}

func (x *transaction) Recipient(_ context.Context, to message.Address) (err error) {
	if x.ended || x.begun || len(x.e.Recipients) != len(x.asked)+1 || x.e.Recipients[len(x.asked)].To != to {
		panic("a recipient that is not the last of the envelope")
	}
	defer func() {
		if err == nil {
			x.asked = append(x.asked, to)
		}
	}()
	switch to.Local {
	case "unknown":
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user"}
	case "wrapped":
		return fmt.Errorf("look up: %w", &smtp.Reply{Code: 450, Enhanced: "4.2.1", Text: "Later"})
	case "odd": // a reply that no refusal may have
		return &smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: "Yes"}
	case "broken":
		return errDisk
	}
	return nil
}

func (x *transaction) Begin(_ context.Context, e Envelope) (Body, error) {
	if x.ended || x.begun || len(e.Recipients) != len(x.asked) {
		panic("a body begins twice, or for recipients that nobody was asked about")
	}
	x.begun = true
	if e.From.Local == "nobegin" {
		return nil, errDisk
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.room.begun++
	x.body = &body{r: x.room, e: e}
	return x.body, nil
}

// counts says what became of the bodies.
func (r *room) counts() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open := r.opened - r.closed; open > 1 {
		return fmt.Sprintf("%d transactions are open", open)
	}
	return fmt.Sprintf("%d begun, %d taken, %d given up", r.begun, r.taken, r.abandoned)
}

type body struct {
	r    *room
	e    Envelope
	text bytes.Buffer
	over bool
}

func (b *body) Write(p []byte) (int, error) {
	if b.over {
		panic("write to a body that is over")
	}
	if b.e.From.Local == "failing" && b.text.Len() > 0 {
		return 0, &smtp.Reply{Code: 452, Enhanced: "4.3.1", Text: "Disk full"}
	}
	return b.text.Write(p)
}

func (b *body) Commit(ctx context.Context) (string, error) {
	b.end()
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	switch b.e.Recipients[0].To.Local {
	case "fault":
		b.r.abandoned++
		return "", errDisk
	case "slow":
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			b.r.abandoned++
			return "", ctx.Err()
		}
	}
	b.r.taken++
	b.r.bodies = append(b.r.bodies, b.text.String())
	b.r.envs = append(b.r.envs, b.e)
	return fmt.Sprintf("id%d", b.r.taken), nil
}

func (b *body) Abort() {
	b.end()
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	b.r.abandoned++
}

func (b *body) end() {
	if b.over {
		panic("a body ends twice")
	}
	b.over = true
}

// accounts is a sasl.Backend of one account.
type accounts struct{}

func (accounts) Password(_ context.Context, user, password string) (sasl.Identity, error) {
	switch {
	case password == "fault":
		return sasl.Identity{}, errDisk
	case user != "one@demo.test" || password != "hunter2-secret":
		return sasl.Identity{}, sasl.ErrCredentials
	}
	return sasl.Identity{Account: 7, Address: message.Address{Local: "one", Domain: "demo.test"}}, nil
}

func (accounts) Scram(context.Context, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, errDisk
}

// certificate makes a server's configuration and that of a client which
// trusts it.
func certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.demo.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}}
	return server, &tls.Config{ServerName: "mx.demo.test", RootCAs: roots}
}

func tlsClient(c net.Conn, config *tls.Config) net.Conn { return tls.Client(c, config) }
