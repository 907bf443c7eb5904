package imap

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// certificate makes a certificate for imap.demo.test.
func certificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"imap.demo.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// socket is the server's end of a connection that may be under TLS.
type socket struct {
	net.Conn
	config *tls.Config
	tls    *tls.Conn
}

func (s *socket) StartTLS(ctx context.Context) error {
	c := tls.Server(s.Conn, s.config)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	s.tls, s.Conn = c, c
	return nil
}

func (s *socket) ConnectionState() (tls.ConnectionState, bool) {
	if s.tls == nil {
		return tls.ConnectionState{}, false
	}
	return s.tls.ConnectionState(), true
}

// listen serves real sockets: with TLS from the start if implicit. It gives
// the address and the client's configuration.
func (h *house) listen(implicit bool) (string, *tls.Config) {
	h.tb.Helper()
	cert := certificate(h.tb)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	h.must(err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	h.tb.Cleanup(func() { l.Close() })
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	h.config = config
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := &socket{Conn: c, config: config}
			if implicit {
				t := tls.Server(c, config)
				s.tls, s.Conn = t, t
			}
			h.serveConn(s)
		}
	}()
	return l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "imap.demo.test"}
}

// newDiskHouse is newHouse on a real disk and with an index in a file.
func newDiskHouse(tb testing.TB, o Options) *house {
	tb.Helper()
	h := &house{tb: tb, idle: make(chan struct{}, 1)}
	dir := tb.TempDir()
	h.openOn(sys.OSFS(), dir+"/journal", dir+"/index.db")
	h.serve(o)
	return h
}

const benchHeader = "Return-Path: <sender@example.com>\r\n" +
	"Received: from mx.example.com (mx.example.com [192.0.2.1]) by imap.demo.test with ESMTPS id 4711; Mon, 2 Feb 2026 10:00:00 +0000\r\n" +
	"From: \"Some Sender\" <sender@example.com>\r\nTo: One <one@demo.test>, Two <two@demo.test>\r\nSubject: a subject as they come %d\r\n" +
	"Date: Mon, 2 Feb 2026 10:00:00 +0000\r\nMessage-ID: <msg%d@example.com>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n\r\n"

// crowd files n messages of 4 KB, appended by a hundred.
func (h *house) crowd(n int) {
	h.tb.Helper()
	ctx := context.Background()
	info, err := h.boxes.Lookup(ctx, account.ID(1), "INBOX")
	h.must(err)
	text := strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 58)
	for i := 0; i < n; {
		var msgs []mailbox.AppendMessage
		for ; len(msgs) < 100 && i < n; i++ {
			body, err := h.boxes.NewBody(ctx, nil)
			h.must(err)
			fmt.Fprintf(body, benchHeader, i, i)
			if _, err := body.Write([]byte(text)); err != nil {
				h.tb.Fatal(err)
			}
			msgs = append(msgs, mailbox.AppendMessage{Body: body})
		}
		_, _, err := h.boxes.Append(ctx, info.ID, msgs)
		h.must(err)
	}
}

// tlsClient connects under TLS and logs in.
func tlsClient(tb testing.TB, addr string, config *tls.Config) *client {
	tb.Helper()
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		tb.Fatal(err)
	}
	cl := newClient(tb, c)
	cl.line()
	cl.do("LOGIN one secret")
	return cl
}

// exchange sends a command and reads to its tagged response without looking
// at lines.
func (c *client) exchange(command string) int {
	c.n++
	tag := fmt.Sprintf("\r\nt%d ", c.n)
	c.write(tag[2:] + command + "\r\n")
	n := 0
	var tail []byte
	for {
		if _, err := c.r.Peek(1); err != nil {
			c.tb.Fatal(err)
		}
		b, _ := c.r.Peek(c.r.Buffered())
		n += len(b)
		tail = append(tail[max(0, len(tail)-200):], b[max(0, len(b)-200):]...)
		c.r.Discard(len(b))
		if tail[len(tail)-1] == '\n' {
			if n < 150 && strings.HasPrefix(string(tail), tag[2:]) || bytes.Contains(tail, []byte(tag)) {
				return n
			}
		}
	}
}

func BenchmarkSession(b *testing.B) {
	h := newDiskHouse(b, Options{SessionsPerUser: 5000})
	defer h.close()
	h.crowd(10_000)
	addr, config := h.listen(true)
	c := tlsClient(b, addr, config)
	defer c.c.Close()
	c.do("SELECT INBOX")
	for _, command := range []string{
		"SELECT INBOX", "FETCH 1:* (UID FLAGS)", "FETCH 1:* (ENVELOPE)", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODYSTRUCTURE)",
		"FETCH 1:1000 (BODY.PEEK[])", "FETCH 5000 (BODY.PEEK[])", "FETCH 1:1000 (BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])",
		"SEARCH UNSEEN", "SEARCH SUBJECT nothing", "SEARCH TEXT nothing-like-that",
		"STORE 1:1000 +FLAGS.SILENT (\\Flagged)", "NOOP",
	} {
		b.Run(strings.ReplaceAll(command, " ", "_"), func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = c.exchange(command)
			}
			b.ReportMetric(float64(n), "bytes/answer")
		})
	}
}
