package host

import (
	"errors"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// arriveWait is how long a test waits for mail that another host is to bring.
const arriveWait = 30 * time.Second

// submit hands a message in as one of the demo's users.
func (h *testHost) submit(from, to, text string) error {
	c, err := smtp.Dial(h.bound.Addr("submission"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.StartTLS(h.clientTLS()), c.Auth(smtp.PlainAuth("", from, testPassword, "127.0.0.1")), c.Mail(from), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return errors.Join(err, w.Close(), c.Quit())
}

// arrives waits for a message of a user's INBOX that has all these words.
func (h *testHost) arrives(user string, words ...string) string {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(arriveWait); time.Now().Before(deadline); <-tick.C {
		for _, text := range h.bodies(user) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(text, w)
			}
			if all {
				return text
			}
		}
	}
	h.t.Fatalf("%s has no message with %q", user, words)
	return ""
}

// ask has the running host do something.
func (h *testHost) ask(q admin.Request) admin.Answer {
	h.t.Helper()
	a, err := admin.Client{Dir: h.dir}.Do(h.t.Context(), q)
	if err != nil || a.Error != "" {
		h.t.Fatalf("%s: %v %s", q.Op, err, a.Error)
	}
	return a
}

// balanced checks that the books balance and nothing waits.
func (h *testHost) balanced() {
	h.t.Helper()
	b := h.ask(admin.Request{Op: admin.LedgerClose}).Ledger.Books
	if !b.Balanced || b.Queued != 0 || len(b.Unaccounted) > 0 {
		h.t.Errorf("the books: %+v", b)
	}
}

// TestHost_sendsAway: what a user writes to another host arrives there without
// its Bcc, and what that host refuses comes back with its words.
func TestHost_sendsAway(t *testing.T) {
	there := newTestHost(t)
	there.ask(admin.Request{Op: admin.DomainAdd, Domain: "elsewhere.test"})
	there.ask(admin.Request{Op: admin.AccountAdd, Address: "friend@elsewhere.test", Password: testPassword})
	here := newTestHost(t, func(c *Config) { c.Delivery.Relay, c.Delivery.Hold = "smtp://"+there.bound.Addr("smtp"), false })

	if err := here.submit("one@demo.test", "friend@elsewhere.test", "From: one@demo.test\r\nBcc: secret@elsewhere.test\r\nSubject: away\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	got := there.arrives("friend@elsewhere.test", "Subject: away")
	if strings.Contains(got, "secret@") || !strings.Contains(got, "Message-ID: <") || !strings.Contains(got, "Return-Path: <one@demo.test>") {
		t.Errorf("arrived as %q", got)
	}
	if err := here.submit("one@demo.test", "nobody@elsewhere.test", "From: one@demo.test\r\nSubject: in vain\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	here.arrives("one@demo.test", "multipart/report", "5.1.1", "nobody@elsewhere.test", "Subject: in vain")
	here.balanced()
}

// TestHost_holdsWithoutANextHop: a demo says so, and sends when it is told to.
func TestHost_holdsWithoutANextHop(t *testing.T) {
	h := newTestHost(t)
	if err := h.submit("one@demo.test", "friend@elsewhere.test", "From: one@demo.test\r\nSubject: waits\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	rows := h.ask(admin.Request{Op: admin.QueueList, Queue: &admin.QueueRequest{}}).Queue.Rows
	if len(rows) != 1 || rows[0].State != "held" || !strings.Contains(rows[0].Hold, "delivery.relay") {
		t.Errorf("the queue: %+v", rows)
	}
	h.ask(admin.Request{Op: admin.QueueFail, Queue: &admin.QueueRequest{Selection: admin.Selection{All: true}, Reason: "It was a test."}})
	h.arrives("one@demo.test", "multipart/report", "It was a test.")
	h.balanced()
}

// TestHost_limitsCountWhatIsSent: recipients of a transaction that is given up
// cost nothing, those of a message do.
func TestHost_limitsCountWhatIsSent(t *testing.T) {
	h := newTestHost(t, func(c *Config) { c.Submission.PerHour = 2 })
	c, err := smtp.Dial(h.bound.Addr("submission"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.StartTLS(h.clientTLS()), c.Auth(smtp.PlainAuth("", "one@demo.test", testPassword, "127.0.0.1"))); err != nil {
		t.Fatal(err)
	}
	named := func() error {
		return errors.Join(c.Mail("one@demo.test"), c.Rcpt("two@demo.test"), c.Rcpt("friend@elsewhere.test"))
	}
	for range 3 {
		if err := errors.Join(named(), c.Reset()); err != nil {
			t.Fatal(err)
		}
	}
	if err := named(); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "Subject: counts\r\n\r\n"); err != nil || w.Close() != nil {
		t.Fatal("not taken")
	}
	var reply *textproto.Error
	if err := errors.Join(c.Mail("one@demo.test"), c.Rcpt("two@demo.test")); !errors.As(err, &reply) || reply.Code != 450 {
		t.Errorf("beyond the limit: %v", err)
	}
}

// TestHost_edgeModeQueues: mail for an inner server that is down is kept, if so
// configured, and is there when the server is back.
func TestHost_edgeModeQueues(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil { // nobody answers there until the inner host does
		t.Fatal(err)
	}
	outer := newTestHost(t, func(c *Config) {
		c.Relay.To, c.Relay.Facts, c.Relay.WhenDown, c.Relay.Domains = addr, "none", "queue", []string{"demo.test"}
	})
	const text = "From: a@sender.test\r\nSubject: kept\r\n\r\nhello\r\n"
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(arriveWait)
	for ; ; <-tick.C { // it has to notice first
		if err = outer.send("a@sender.test", "one@demo.test", text); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var reply *textproto.Error
	if err := outer.send("a@sender.test", "b@elsewhere.test", text); !errors.As(err, &reply) || reply.Code != 550 {
		t.Errorf("got %v for another domain, want 550", err)
	}
	inner := newTestHost(t, func(c *Config) { c.Listen.SMTP = []string{addr} })
	retry := admin.Request{Op: admin.QueueRetry, Queue: &admin.QueueRequest{Selection: admin.Selection{All: true}}}
	for a := (admin.Answer{Error: "not asked yet"}); a.Error != "" && !time.Now().After(deadline); <-tick.C {
		// While the first attempt is under way there is nothing to retry.
		if a, err = (admin.Client{Dir: outer.dir}).Do(t.Context(), retry); err != nil {
			t.Fatal(err)
		}
	}
	inner.arrives("one@demo.test", "Subject: kept")
	outer.balanced()
}
