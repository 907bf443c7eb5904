package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

const testPassword = "correct horse battery staple"

// testHost is a host of its own on free ports.
type testHost struct {
	t     *testing.T
	dir   string
	cfg   Config
	bound Bound
	stop  func()

	change []func(*Config) // made to the configuration at every start
}

// newTestHost makes and starts a demo on free ports, with changes to its
// configuration.
func newTestHost(t *testing.T, change ...func(*Config)) *testHost {
	h := &testHost{change: change, t: t, dir: filepath.Join(t.TempDir(), "d")}
	if err := InitDemo(h.dir); err != nil {
		t.Fatal(err)
	}
	h.start()
	return h
}

// start runs the host until stop, which fails the test unless it was graceful.
func (h *testHost) start() {
	h.t.Helper()
	cfg, err := Load(filepath.Join(h.dir, ConfigName))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, l := range []*[]string{
		&cfg.Listen.SMTP, &cfg.Listen.Submission, &cfg.Listen.Submissions, &cfg.Listen.IMAP,
		&cfg.Listen.IMAPS, &cfg.Listen.POP3, &cfg.Listen.POP3S, &cfg.Listen.Metrics,
	} {
		*l = []string{"127.0.0.1:0"}
	}
	for _, change := range h.change {
		change(&cfg)
	}
	h.cfg = cfg
	log, err := NewLogger(LogConfig{Level: "warn", Format: "text"}, h.t.Output())
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan Bound, 1), make(chan error, 1)
	go func() {
		done <- Serve(ctx, cfg, ServeOptions{
			Log: log,
			Prepare: func(ctx context.Context, s *Store) error {
				_, err := PrepareDemo(ctx, s, testPassword, nil)
				return err
			},
			Ready: func(b Bound) { ready <- b },
		})
	}()
	select {
	case h.bound = <-ready:
	case err := <-done:
		cancel()
		h.t.Fatalf("serve: %v", err)
	}
	stopped := false
	h.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("serve: %v", err)
		}
	}
	h.t.Cleanup(h.stop)
}

// clientTLS trusts the host's own authority only.
func (h *testHost) clientTLS() *tls.Config {
	h.t.Helper()
	ca, err := os.ReadFile(filepath.Join(h.dir, "ca.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// send delivers a message over SMTP, as another host would.
func (h *testHost) send(from, to, text string) error {
	c, err := smtp.Dial(h.bound.Addr("smtp"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Hello("mail.sender.test"), c.Mail(from), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return errors.Join(err, w.Close(), c.Quit())
}

// read logs in by IMAP over TLS.
func (h *testHost) read(user string) *imapclient.Client {
	h.t.Helper()
	c, err := imapclient.DialTLS(h.bound.Addr("imaps"), &imapclient.Options{TLSConfig: h.clientTLS()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() }) // the test has judged it by then
	if err := c.Login(user, testPassword).Wait(); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// bodies returns all messages of INBOX by UID.
func (h *testHost) bodies(user string) map[imap.UID]string {
	h.t.Helper()
	c := h.read(user)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		h.t.Fatal(err)
	}
	got := map[imap.UID]string{}
	msgs, err := c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range msgs {
		got[m.UID] = string(m.BodySection[0].Bytes)
	}
	if err := c.Logout().Wait(); err != nil {
		h.t.Error(err)
	}
	return got
}

// A message goes in by SMTP and comes out by IMAP, byte for byte behind the
// trace fields, and is still there after a restart and without an index.
func TestHost_takesKeepsAndGivesBack(t *testing.T) {
	h := newTestHost(t)
	text := "From: two@demo.test\r\nTo: one@demo.test\r\nSubject: Hello\r\n\r\nIt works.\r\n.leading dot\r\n"
	if err := h.send("two@demo.test", "one+tag@demo.test", text); err != nil {
		t.Fatal(err)
	}
	want := h.bodies("one@demo.test")
	if len(want) != 1 {
		t.Fatalf("INBOX has %d messages, want 1", len(want))
	}
	for uid, got := range want {
		if !strings.HasSuffix(got, text) || !strings.HasPrefix(got, "Return-Path: <two@demo.test>\r\n") {
			t.Errorf("message %d is not what was sent:\n%s", uid, got)
		}
	}
	if err := h.send("two@demo.test", "nobody@demo.test", text); err == nil || !strings.Contains(err.Error(), "5.1.1") {
		t.Errorf("unknown recipient: %v, want 550 5.1.1", err)
	}
	if err := h.send("two@demo.test", "one@elsewhere.test", text); err == nil || !strings.Contains(err.Error(), "5.7.1") {
		t.Errorf("foreign recipient: %v, want 550 5.7.1", err)
	}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"restart", func() error { return nil }},
		{"index deleted", func() error { return os.Remove(filepath.Join(h.dir, "index.db")) }},
	} {
		h.stop()
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		h.start()
		got := h.bodies("one@demo.test")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("after %s: INBOX = %v, want %v", change.name, got, want)
		}
	}
}

// Operators' requests reach the running host; two hosts never share a store.
func TestHost_adminSocket(t *testing.T) {
	h := newTestHost(t)
	ctx := t.Context()
	c := admin.Client{Dir: h.dir}
	if a, err := c.Do(ctx, admin.Request{Op: admin.AccountAdd, Address: "three@demo.test", Password: testPassword}); err != nil || a.Error != "" {
		t.Fatalf("account add: %v, %v", a.Error, err)
	}
	if err := h.send("", "three@demo.test", "Subject: hi\r\n\r\nhi\r\n"); err != nil {
		t.Errorf("mail for the new account: %v", err)
	}
	if got := h.bodies("three@demo.test"); len(got) != 1 {
		t.Errorf("new account has %d messages, want 1", len(got))
	}
	if a, err := c.Do(ctx, admin.Request{Op: admin.AccountRemove, Address: "three@demo.test"}); err != nil || a.Error != "" {
		t.Fatalf("account remove: %v, %v", a.Error, err)
	}
	if err := h.send("", "three@demo.test", "Subject: hi\r\n\r\nhi\r\n"); err == nil {
		t.Error("mail for a removed account was taken")
	}
	if _, err := OpenStore(ctx, h.cfg, StoreOptions{}); err == nil {
		t.Error("the store was opened twice")
	}
	h.stop()
	if _, err := c.Do(ctx, admin.Request{Op: admin.DomainList}); err != admin.ErrNotRunning {
		t.Errorf("after the stop: %v, want ErrNotRunning", err)
	}
}

func TestHost_healthAndMetrics(t *testing.T) {
	h := newTestHost(t)
	url := "http://" + h.bound.Addr("metrics")
	resp, err := http.Get(url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var r report
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || r.Status != "green" || resp.StatusCode != 200 {
		t.Errorf("health = %d %+v, %v; want green", resp.StatusCode, r, err)
	}
	m, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Body.Close()
	var b strings.Builder
	if _, err := fmt.Fprint(&b, m.Status); err != nil || m.StatusCode != 200 {
		t.Errorf("metrics: %s", m.Status)
	}
}

// TestHost_stoppedInTheStart: who is told to stop before the start is over has
// stopped in good order.
func TestHost_stoppedInTheStart(t *testing.T) {
	h := newTestHost(t)
	h.stop()
	ctx, cancel := context.WithCancel(t.Context())
	err := Serve(ctx, h.cfg, ServeOptions{
		Log:     Logger{Logger: slog.New(slog.DiscardHandler)},
		Prepare: func(context.Context, *Store) error { cancel(); return nil },
		Ready:   func(Bound) { t.Error("ready though it was stopped before") },
	})
	if err != nil {
		t.Errorf("got %v, want none", err)
	}
}

func TestHost_portTakenEndsTheStart(t *testing.T) {
	h := newTestHost(t)
	cfg := h.cfg
	cfg.Dir = filepath.Join(t.TempDir(), "other")
	if err := InitDemo(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	cfg.Listen.SMTP = []string{h.bound.Addr("smtp")}
	err := Serve(t.Context(), cfg, ServeOptions{Log: Logger{Logger: slog.New(slog.DiscardHandler)}})
	if err == nil || !strings.Contains(err.Error(), "listen.smtp") {
		t.Errorf("Serve on a taken port = %v, want an error that names listen.smtp", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "journal")); err == nil {
		t.Error("a start that could not bind touched the store")
	}
}

func TestHealth_redWhileOpening(t *testing.T) {
	h := &health{}
	if r := h.now(); r.Status != "red" {
		t.Errorf("health without a store = %+v", r)
	}
}

// A flipped bit is found by verify, beside a running host and without one, and
// on read; it is named, and hurts nothing else (I8).
func TestHost_flippedBit(t *testing.T) {
	h := newTestHost(t)
	for _, to := range []string{"one@demo.test", "two@demo.test", "one@demo.test"} {
		if err := h.send("", to, "Subject: for "+to+"\r\n\r\nneedle of "+to+"\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if found := h.verify(); len(found) != 0 {
		t.Errorf("verify of a sound store: %+v", found)
	}
	h.flip("needle of two@demo.test")
	check := func(when string) {
		t.Helper()
		found := h.verify()
		want := admin.Message{Owner: "two@demo.test", Mailbox: "INBOX", UID: 1}
		if len(found) != 1 || len(found[0].Messages) != 1 || found[0].Messages[0] != want {
			t.Errorf("%s: verify = %+v, want one finding about %+v", when, found, want)
		}
	}
	check("while it runs")
	if got := h.bodies("one@demo.test"); len(got) != 2 {
		t.Errorf("one@demo.test reads %d messages, want 2", len(got))
	}
	h.stop()
	check("while it is stopped")
}

// verify returns what Verify finds.
func (h *testHost) verify() (found []admin.Damage) {
	h.t.Helper()
	err := Verify(h.t.Context(), h.cfg, func(d admin.Damage) error {
		found = append(found, d)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// flip flips a bit in the stored text, wherever it is.
func (h *testHost) flip(text string) {
	h.t.Helper()
	segments, err := filepath.Glob(filepath.Join(h.dir, "journal", "s*"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range segments {
		b, err := os.ReadFile(s)
		if err != nil {
			h.t.Fatal(err)
		}
		at := bytes.Index(b, []byte(text))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(s, os.O_RDWR, 0)
		if err != nil {
			h.t.Fatal(err)
		}
		_, err = f.WriteAt([]byte{b[at] ^ 1}, int64(at))
		if err := errors.Join(err, f.Close()); err != nil {
			h.t.Fatal(err)
		}
		return
	}
	h.t.Fatalf("%q is in no segment", text)
}
