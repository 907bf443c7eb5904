package relay

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// fake is an inner server. on says what it does at a step: a step is a verb,
// "banner", "body" (once 354 has been said) or "dot". What it returns is said,
// as it is; "" is what a good server says, hangUp and silence are what bad
// ones do.
type fake struct {
	ehlo  string // extensions, a line each
	tls   *tls.Config
	proxy bool // connections begin with a header
	on    func(step, line string) string

	mu    sync.Mutex
	conns int
	heard []string // commands, but for EHLO and QUIT
	taken []string // bodies that it said 250 to
	from  []listen.ProxyHeader
	down  bool
}

const (
	hangUp  = "\x00hang up"
	silence = "\x00silence"
	endless = "\x00endless"
	takeIt  = "\x00take it and hang up"
)

func (f *fake) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("connection refused")
	}
	f.conns++
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		f.serve(far)
	}()
	return near, nil
}

// change changes a fake that is in use.
func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// does is what it does at a step.
func (f *fake) does(step, line string) (re string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on != nil {
		re = f.on(step, line)
	}
	return re
}

// kept counts the idle connections.
func kept(r *Relay) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.idle)
}

// seen returns what was heard and taken since it was called last.
func (f *fake) seen() (heard string, taken []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard, taken = strings.Join(f.heard, "|"), f.taken
	f.heard, f.taken = nil, nil
	return heard, taken
}

// say answers a step; it reports whether the dialogue goes on.
func (f *fake) say(c net.Conn, step, line, good string) bool {
	re := f.does(step, line)
	switch re {
	case "":
		re = good
	case hangUp, takeIt:
		return false
	case silence:
		_, _ = io.Copy(io.Discard, c)
		return false
	case endless:
		for {
			if _, err := io.WriteString(c, "250-more\r\n"); err != nil {
				return false
			}
		}
	}
	_, err := io.WriteString(c, re+"\r\n")
	return err == nil && !strings.HasPrefix(re, "421")
}

// good reports whether a body follows DATA.
func (f *fake) good(verb, line string) bool {
	re := f.does(verb, line)
	return re == "" || strings.HasPrefix(re, "354")
}

func (f *fake) serve(c net.Conn) {
	in := bufio.NewReader(c)
	if f.proxy {
		head, _ := in.Peek(16)
		head, _ = in.Peek(16 + int(head[15]))
		h, n, err := listen.ParseProxy(head)
		if err != nil {
			panic(err)
		}
		_, _ = in.Discard(n)
		f.mu.Lock()
		f.from = append(f.from, h)
		f.mu.Unlock()
	}
	if !f.say(c, "banner", "", "220 inner.example ESMTP") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		if verb != "EHLO" && verb != "QUIT" {
			f.mu.Lock()
			f.heard = append(f.heard, line)
			f.mu.Unlock()
		}
		good := "250 2.0.0 Ok"
		switch verb {
		case "EHLO":
			f.change(func() {
				good = "250-inner.example\r\n250-" + strings.ReplaceAll("HELP\n"+f.ehlo, "\n", "\r\n250-") + "\r\n250 ENHANCEDSTATUSCODES"
			})
			good = strings.Replace(good, "250-\r\n", "", 1)
		case "XCLIENT":
			good = "220 inner.example ESMTP"
		case "DATA":
			good = "354 Go on"
		case "STARTTLS":
			good = "220 Go on"
		case "QUIT":
			good = "221 Bye"
		}
		if !f.say(c, verb, line, good) {
			return
		}
		switch {
		case verb == "DATA" && f.good(verb, line):
			if !f.body(c, in) {
				return
			}
		case verb == "STARTTLS" && f.tls != nil:
			s := tls.Server(c, f.tls)
			if s.Handshake() != nil {
				return
			}
			c, in = s, bufio.NewReader(s)
		}
	}
}

// body reads a body and undoes the dots.
func (f *fake) body(c net.Conn, in *bufio.Reader) bool {
	if f.does("body", "") == hangUp {
		_, _ = in.ReadString('\n')
		return false
	}
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	re := f.does("dot", "")
	if re == "" || re == takeIt || strings.HasPrefix(re, "250") {
		f.mu.Lock()
		f.taken = append(f.taken, text.String())
		f.mu.Unlock()
	}
	return f.say(c, "dot", "", "250 2.0.0 Ok: queued as 4XYZ")
}

// relay makes a Relay in front of f. Stop ends it.
func (f *fake) relay(t testing.TB, o Options) *Relay {
	t.Helper()
	o.To, o.Dial, o.Hostname = "inner.example:25", f.dial, "mx.example"
	if o.Domains == nil {
		o.Domains = []message.Domain{"demo.test"}
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func address(local, domain string) message.Address {
	return message.Address{Local: local, Domain: message.Domain(domain)}
}

func envelope(to ...string) *smtp.Envelope {
	e := &smtp.Envelope{
		Session: "s1", RemoteIP: netip.MustParseAddr("198.51.100.7"), Port: 4000, Helo: "client.example", Protocol: "ESMTP",
		From: address("a", "b.example"),
	}
	for _, local := range to {
		e.Recipients = append(e.Recipients, smtp.Recipient{To: address(local, "demo.test")})
	}
	return e
}

// send hands a message to a Relay as a session does, and returns what its
// client would hear: the codes of MAIL, RCPTs, DATA and the body. Each stops at
// the first refusal that ends it.
func send(ctx context.Context, r *Relay, e *smtp.Envelope, text string) (codes string, err error) {
	all := e.Recipients
	e.Recipients = nil
	tx, err := r.Open(ctx, e)
	if err != nil {
		return code(err), err
	}
	defer tx.Close()
	codes = "250"
	var last error
	for _, to := range all {
		e.Recipients = append(e.Recipients, to)
		if err := tx.Recipient(ctx, to.To); err != nil {
			last = err
			codes += " " + code(err)
			e.Recipients = e.Recipients[:len(e.Recipients)-1]
			continue
		}
		codes += " 250"
	}
	if len(e.Recipients) == 0 {
		return codes, last
	}
	b, err := tx.Begin(ctx, *e)
	if err != nil {
		return codes + " " + code(err), err
	}
	codes += " 354"
	for part := range slices.Chunk([]byte(text), 7) {
		if _, err := b.Write(part); err != nil {
			b.Abort()
			return codes + " " + code(err), err
		}
	}
	id, err := b.Commit(ctx)
	if err != nil {
		return codes + " " + code(err), err
	}
	return codes + " 250 " + id, nil
}

// code is the answer that a session makes of an error.
func code(err error) string {
	var re *smtp.Reply
	if !errors.As(err, &re) {
		return "451"
	}
	return fmt.Sprint(re.Code)
}

// idle checks that nothing is in use any more.
func idle(t *testing.T, r *Relay) {
	t.Helper()
	if n := len(r.slots); n != 0 {
		t.Errorf("%d connections are still in use, want 0", n)
	}
	r.closeIdle()
}

// certificate makes a server's configuration and the roots that trust it.
func certificate(t testing.TB) (server *tls.Config, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"inner.example"}, IsCA: true, BasicConstraintsValid: true,
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
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{SessionTicketsDisabled: true, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}}, roots
}
