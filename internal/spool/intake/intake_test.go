package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// room is an Intake over a real store, which can be restarted. The journal is
// on a simulated disk, the index in memory: each start rebuilds it.
type room struct {
	*Intake
	t    *testing.T
	o    Options
	disk *sim.Disk
	j    *journal.Journal
	x    *index.Index

	fates *fate.Store
}

// newRoom makes the domain demo.test with the given accounts.
func newRoom(t *testing.T, o Options, locals ...string) *room {
	t.Helper()
	r := &room{t: t, o: o, disk: sim.NewDisk(1)}
	r.start()
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	if err := r.accounts.AddDomain(t.Context(), "demo.test"); err != nil {
		t.Fatal(err)
	}
	for _, l := range locals {
		if _, err := r.accounts.AddAccount(t.Context(), addr(t, l+"@demo.test"), "password of "+l, account.Settings{}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *room) start() {
	r.t.Helper()
	var err error
	if r.j, err = journal.Open(journal.Options{Dir: "journal", FS: r.disk, ReserveBytes: -1}); err != nil {
		r.t.Fatal(err)
	}
	accounts := account.New(account.Options{NoScram: true})
	mailboxes := mailbox.New(mailbox.Options{}, r.j)
	r.fates = fate.New(fate.Options{})
	if r.x, err = index.Open(context.Background(), index.Options{}, r.j, accounts, mailboxes, r.fates); err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(accounts.Attach(r.x), mailboxes.Attach(r.x), r.fates.Attach(r.x)); err != nil {
		r.t.Fatal(err)
	}
	r.Intake = New(r.o, accounts, mailboxes)
}

func (r *room) stop() error { return errors.Join(r.x.Close(), r.j.Close()) }

func addr(t *testing.T, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parse(t *testing.T, all ...string) (out []message.Address) {
	t.Helper()
	for _, s := range all {
		out = append(out, addr(t, s))
	}
	return out
}

func (r *room) envelope(from string, to ...string) smtp.Envelope {
	e := smtp.Envelope{
		Session: "s1", RemoteIP: netip.MustParseAddr("192.0.2.7"), Helo: "mx.example", Protocol: "ESMTP",
	}
	if from != "" {
		e.From = addr(r.t, from)
	}
	for _, a := range to {
		e.Recipients = append(e.Recipients, smtp.Recipient{To: addr(r.t, a)})
	}
	return e
}

// deliver sends a body in two pieces.
func (r *room) deliver(e smtp.Envelope, text string) error {
	_, err := r.send(e, text)
	return err
}

// send is deliver, and says what the message is called.
func (r *room) send(e smtp.Envelope, text string) (id string, err error) {
	b, err := r.Begin(r.t.Context(), e)
	if err != nil {
		return "", err
	}
	for _, part := range []string{text[:len(text)/2], text[len(text)/2:]} {
		if _, err := b.Write([]byte(part)); err != nil {
			b.Abort()
			return "", err
		}
	}
	return b.Commit(r.t.Context())
}

// inboxOf returns the messages in the INBOX of a local part, oldest first.
func (r *room) inboxOf(local string) []string {
	r.t.Helper()
	ctx := r.t.Context()
	a, err := r.accounts.Get(ctx, addr(r.t, local+"@demo.test"))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.in(a.ID, "INBOX")
}

// in returns the messages in a mailbox, oldest first.
func (r *room) in(id account.ID, name string) []string {
	r.t.Helper()
	ctx := r.t.Context()
	info, err := r.mailboxes.Lookup(ctx, id, name)
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := r.mailboxes.OpenMailbox(ctx, info.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	defer m.Close()
	es, _, err := m.Entries(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		b, err := r.mailboxes.OpenMessage(ctx, e.Message)
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err := errors.Join(err, b.Close()); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

// wantReply fails unless err is the reply.
func wantReply(t *testing.T, err error, code int, enhanced smtp.EnhancedCode) {
	t.Helper()
	var r *smtp.Reply
	if !errors.As(err, &r) || r.Code != code || r.Enhanced != enhanced {
		t.Errorf("got %v, want %d %s", err, code, enhanced)
	}
}

func TestRecipient_verdicts(t *testing.T) {
	r := newRoom(t, Options{}, "one", "two")
	ctx := t.Context()
	from := addr(t, "a@example.org")
	if err := r.accounts.SetDisabled(ctx, addr(t, "two@demo.test"), true); err != nil {
		t.Fatal(err)
	}
	if err := r.Recipient(ctx, from, addr(t, "one+tag@demo.test")); err != nil {
		t.Errorf("known recipient: %v", err)
	}
	wantReply(t, r.Recipient(ctx, from, addr(t, "nobody@demo.test")), 550, "5.1.1")
	wantReply(t, r.Recipient(ctx, from, addr(t, "two@demo.test")), 550, "5.2.1")
	wantReply(t, r.Recipient(ctx, from, addr(t, "one@elsewhere.test")), 550, "5.7.1")

	r.Intake.o.Submission = true
	err := r.Recipient(ctx, from, addr(t, "one@elsewhere.test"))
	wantReply(t, err, 550, "5.7.1")
	if !strings.Contains(err.Error(), "does not send mail to other hosts yet") {
		t.Errorf("a user is told %v", err)
	}
}

// TestRecipient_aliasLoop: a catch-all's target is removed, and it catches its
// own target from then on.
func TestRecipient_aliasLoop(t *testing.T) {
	r := newRoom(t, Options{}, "one", "two")
	ctx := t.Context()
	err := errors.Join(
		r.accounts.SetCatchAll(ctx, "demo.test", addr(t, "two@demo.test")),
		r.accounts.RemoveAccount(ctx, addr(t, "two@demo.test")))
	if err != nil {
		t.Fatal(err)
	}
	wantReply(t, r.Recipient(ctx, message.Address{}, addr(t, "nobody@demo.test")), 550, "5.4.6")
}

func TestCommit_oneCopyForEachAccount(t *testing.T) {
	r := newRoom(t, Options{Hostname: "mail.demo.test"}, "one", "two")
	if err := r.accounts.AddAlias(t.Context(), addr(t, "all@demo.test"), addr(t, "one@demo.test"), addr(t, "two@demo.test")); err != nil {
		t.Fatal(err)
	}
	const text = "Subject: hi\r\n\r\nhi\r\n"
	e := r.envelope("a@example.org", "one@demo.test", "all@demo.test", "one+x@demo.test")
	e.Headers = "X-Greylist: delayed\r\n"
	if err := r.deliver(e, text); err != nil {
		t.Fatal(err)
	}
	for _, local := range []string{"one", "two"} {
		got := r.inboxOf(local)
		if len(got) != 1 {
			t.Errorf("%s has %d messages, want 1", local, len(got))
			continue
		}
		if !strings.HasSuffix(got[0], "\r\n"+e.Headers+text) || !strings.HasPrefix(got[0], "Return-Path: <a@example.org>\r\nReceived: from mx.example ([192.0.2.7])") {
			t.Errorf("%s: message is\n%s", local, got[0])
		}
		if strings.Contains(got[0], " for ") {
			t.Errorf("%s learns of other recipients:\n%s", local, got[0])
		}
	}
}

func TestQuota(t *testing.T) {
	r := newRoom(t, Options{}, "small", "big")
	ctx := t.Context()
	if err := r.accounts.SetQuota(ctx, addr(t, "small@demo.test"), 1000); err != nil {
		t.Fatal(err)
	}
	body := "Subject: hi\r\n\r\n" + strings.Repeat("x", 600) + "\r\n"
	large := "Subject: hi\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n"
	// Too large for this recipient alone, not in company.
	wantReply(t, r.deliver(r.envelope("", "small@demo.test"), large), 552, "5.3.4")
	if got := r.inboxOf("small"); len(got) != 0 {
		t.Errorf("refused message was filed")
	}
	// The message that crosses the line is taken, the next one is not.
	for range 2 {
		if err := r.deliver(r.envelope("", "small@demo.test", "big@demo.test"), body); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.inboxOf("small")); got != 2 { // reading also waits until usage is counted
		t.Errorf("small has %d messages, want 2", got)
	}
	wantReply(t, r.Recipient(ctx, message.Address{}, addr(t, "small@demo.test")), 452, "4.2.2")
	must(t,
		r.accounts.AddAlias(ctx, addr(t, "both@demo.test"), addr(t, "small@demo.test"), addr(t, "big@demo.test")),
		r.accounts.AddAlias(ctx, addr(t, "little@demo.test"), addr(t, "small@demo.test")))
	if err := r.Recipient(ctx, message.Address{}, addr(t, "both@demo.test")); err != nil {
		t.Errorf("alias with room in one: %v", err)
	}
	wantReply(t, r.Recipient(ctx, message.Address{}, addr(t, "little@demo.test")), 452, "4.2.2")
	// A size that is stated is enough to refuse by.
	e := r.envelope("", "small@demo.test")
	e.Size = 1001
	_, err := r.Begin(ctx, e)
	wantReply(t, err, 552, "5.3.4")
	if err := r.Recipient(ctx, message.Address{}, addr(t, "big@demo.test")); err != nil {
		t.Errorf("recipient without quota: %v", err)
	}
}

func TestWrite_limits(t *testing.T) {
	r := newRoom(t, Options{MessageSize: 100 << 10}, "one")
	e := r.envelope("", "one@demo.test")
	wantReply(t, r.deliver(e, strings.Repeat("x", 200<<10)), 552, "5.3.4")
	loop := func(n int) string {
		return strings.Repeat("Received: from a by b\r\n", n) + "\r\nReceived: in the body\r\n"
	}
	wantReply(t, r.deliver(e, loop(receivedMax+1)), 554, "5.4.6")
	if err := r.deliver(e, loop(receivedMax)); err != nil {
		t.Errorf("%d hops: %v", receivedMax, err)
	}
	if got := len(r.inboxOf("one")); got != 1 {
		t.Errorf("INBOX has %d messages, want 1", got)
	}
}

func TestSender_isOwn(t *testing.T) {
	r := newRoom(t, Options{Submission: true}, "one", "two")
	a, err := r.accounts.Get(t.Context(), addr(t, "one@demo.test"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(from string) error {
		e := r.envelope(from)
		e.Account, e.User = uint64(a.ID), a.Address
		return r.Sender(t.Context(), &e)
	}
	for _, own := range []string{"one@demo.test", "one+tag@demo.test", ""} {
		if err := check(own); err != nil {
			t.Errorf("Sender(%q) = %v", own, err)
		}
	}
	for _, foreign := range []string{"two@demo.test", "a@example.org", "nobody@demo.test"} {
		wantReply(t, check(foreign), 553, "5.7.1")
	}
}

func TestTrace_folds(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	e := &smtp.Envelope{
		RemoteIP: netip.MustParseAddr("2001:db8::1"), Helo: "mx.example", Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
		Recipients: []smtp.Recipient{{To: addr(t, "one@demo.test")}},
	}
	const want = "Return-Path: <>\r\n" +
		"Received: from mx.example ([IPv6:2001:db8::1]) by mail.demo.test with ESMTPS\r\n" +
		"\t(TLS1.3 TLS_AES_128_GCM_SHA256) id abc for <one@demo.test>;\r\n" +
		"\tSun, 22 Nov 2026 12:00:00 +0000\r\n"
	if got := string(trace("mail.demo.test", "abc", e, now)); got != want {
		t.Errorf("trace:\n%q\nwant\n%q", got, want)
	}
	e.From = message.Address{Local: "a (b) c", Domain: "x.test"}
	if got := string(trace("h", "abc", e, now)); !strings.HasPrefix(got, "Return-Path: <\"a (b) c\"@x.test>\r\n") {
		t.Errorf("reverse-path: %q", got)
	}
	e.Helo = "evil\r\nSubject: x (y"
	if got := string(trace("h", "abc", e, now)); strings.Contains(got, "\nSubject") || strings.Contains(got, "(y") {
		t.Errorf("HELO became structure: %q", got)
	}
}

// The counter sees the same fields however the header is cut.
func FuzzHopCounter(f *testing.F) {
	f.Add([]byte("Received: a\r\nReceived:\r\n\tb\r\nX: y\r\n\r\nReceived: no\r\n"), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		var whole, parts hopCounter
		whole.write(b)
		cut = 1 + max(0, cut)%17
		for rest := b; len(rest) > 0; {
			n := min(cut, len(rest))
			parts.write(rest[:n])
			rest = rest[n:]
		}
		if whole.received != parts.received {
			t.Errorf("%d fields in one piece, %d in pieces of %d", whole.received, parts.received, cut)
		}
	})
}

func TestHopCounter_stopsAtBody(t *testing.T) {
	var h hopCounter
	fmt.Fprintf(writerFunc(func(p []byte) (int, error) { h.write(p); return len(p), nil }),
		"received: a\r\nX-Received: b\r\n Received: c\r\nRECEIVED: d\n\r\nReceived: e\r\n")
	if h.received != 2 {
		t.Errorf("counted %d Received fields, want 2", h.received)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Incident stalled-disk: a store that does not answer takes no new mail, and
// says so with 4yz rather than by silence.
func TestReady_refusesBeforeTheStoreIsAsked(t *testing.T) {
	stalled := errors.New("a write has been waiting for the disk for 7s")
	r := newRoom(t, Options{Ready: func() error { return stalled }}, "one")
	e := r.envelope("a@example.org", "one@demo.test")
	if err := r.Sender(t.Context(), &e); !errors.Is(err, stalled) {
		t.Errorf("Sender = %v, want the fault", err)
	}
	if _, err := r.Begin(t.Context(), e); !errors.Is(err, stalled) {
		t.Errorf("Begin = %v, want the fault", err)
	}
}
