package intake

import (
	"errors"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// sent returns the messages where an account keeps what it sent.
func (r *room) sent(local string) []string {
	r.t.Helper()
	a, err := r.accounts.Get(r.t.Context(), addr(r.t, local+"@demo.test"))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.in(a.ID, "Sent")
}

// receipts makes the reports that are owed.
func (r *room) receipts() {
	r.t.Helper()
	must(r.t, r.Receipts(r.t.Context(), r.fates))
}

// A report that finds no room, or that a crash comes before, is owed on and
// made later, once.
func TestReceipt_owed(t *testing.T) {
	r, _ := forwarding(t, Options{Submission: true})
	a, err := r.accounts.Get(t.Context(), addr(t, "one@demo.test"))
	must(t, err, r.mailboxes.Provision(t.Context(), a.ID))
	full := errors.New("disk full")
	woken, ready := 0, error(nil)
	r.Intake.o.Owes = func() { woken++ }
	r.Intake.o.Ready = func() error { return ready }
	e := r.from("one", "one@demo.test")
	e.Recipients[0].Notify = smtp.NotifySuccess
	_, err = r.send(e, subject("x"))
	must(t, err)
	ready = full
	if err := r.Receipts(t.Context(), r.fates); !errors.Is(err, full) || woken != 1 {
		t.Errorf("reported on a full disk: %v; woken %d times", err, woken)
	}
	ready = nil
	if n := len(r.sent("one")); n != 0 {
		t.Errorf("%d receipts", n)
	}
	for range 2 {
		r.receipts()
		if n := len(r.sent("one")); n != 1 {
			t.Errorf("%d receipts, want 1", n)
		}
	}
}

// What the queue owes is told as what it was.
func TestReceipt_relayed(t *testing.T) {
	r, _ := forwarding(t, Options{Submission: true})
	a, err := r.accounts.Get(t.Context(), addr(t, "one@demo.test"))
	must(t, err, r.mailboxes.Provision(t.Context(), a.ID))
	e := r.from("one", "z@b.example")
	e.Recipients[0].Notify = smtp.NotifySuccess
	id, err := r.send(e, subject("x"))
	must(t, err)
	m, err := r.fates.ByID(t.Context(), id)
	must(t, err)
	must(t, r.fates.Commit(t.Context(), fate.Change{LSN: m.LSN, Rcpt: []int{0}, Owe: fate.ToldRelayed,
		Event: fate.Event{State: fate.Relayed, Via: "mx.b.example [192.0.2.1]:25", Reply: "250 ok"}}))
	r.receipts()
	sent := r.sent("one")
	if len(sent) != 1 {
		t.Fatalf("%d receipts", len(sent))
	}
	report, err := dsn.Parse(strings.NewReader(sent[0]), int64(len(sent[0])))
	if err != nil || len(report.Recipients) != 1 || report.Recipients[0].Action != dsn.Relayed || report.Recipients[0].Final.String() != "z@b.example" {
		t.Errorf("reported %+v, %v", report.Recipients, err)
	}
}

func TestReceipt_toASenderHere(t *testing.T) {
	r, _ := forwarding(t, Options{Submission: true})
	a, err := r.accounts.Get(t.Context(), addr(t, "one@demo.test"))
	must(t, err, r.mailboxes.Provision(t.Context(), a.ID))
	e := r.from("one", "one@demo.test", "list@demo.test", "mover@demo.test", "keeper@demo.test", "z@b.example")
	for n := range e.Recipients {
		e.Recipients[n].Notify = smtp.NotifySuccess
	}
	e.EnvID, e.Recipients[0].Orcpt = "x", "rfc822;o@demo.test"
	id, err := r.send(e, subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := r.wantFate(id, "one@demo.test delivered; a@b.example queued for list@demo.test; c@d.example queued for list@demo.test; "+
		"m@b.example queued for mover@demo.test; keeper@demo.test delivered; k@b.example queued for keeper@demo.test; z@b.example queued")
	for n, want := range []smtp.Notify{smtp.NotifySuccess, smtp.NotifyNever, smtp.NotifyNever, smtp.NotifySuccess, smtp.NotifySuccess, smtp.NotifyNever, smtp.NotifySuccess} {
		if got := m.Recipients[n].Notify; got != want {
			t.Errorf("%v: notify %v, want %v", m.Recipients[n].Address, got, want)
		}
	}
	r.receipts()
	sent := r.sent("one")
	if len(sent) != 1 {
		t.Fatalf("%d receipts", len(sent))
	}
	report, err := dsn.Parse(strings.NewReader(sent[0]), int64(len(sent[0])))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range report.Recipients {
		got = append(got, r.Final.String()+" "+string(r.Action))
	}
	want := "one@demo.test delivered, list@demo.test expanded, keeper@demo.test delivered"
	if strings.Join(got, ", ") != want || report.EnvID != "x" || report.Recipients[0].Original != "rfc822;o@demo.test" {
		t.Errorf("reported %q of %q, want %q", got, report.EnvID, want)
	}
	if h := string(report.OriginalHeader); !strings.Contains(h, "Subject: x\r\n") || strings.Contains(h, "Return-Path") {
		t.Errorf("returned header:\n%s", h)
	}
}

func TestReceipt_toOthersAndToNobody(t *testing.T) {
	r, _ := newOutgoing(t, Options{}, "one", "two")
	must(t, r.accounts.SetForward(t.Context(), addr(t, "two@demo.test"), account.Forward{Targets: parse(t, "k@b.example"), NoCopy: true}))
	sources := func() (n int) {
		r.receipts()
		err := r.fates.Trace(t.Context(), fate.Find{Address: "x@y.example"}, func(m *fate.Message) error {
			if m.Source == fate.System {
				n++
			}
			return nil
		})
		must(t, err)
		return n
	}
	e := r.envelope("", "one@demo.test")
	e.Recipients[0].Notify = smtp.NotifySuccess
	must(t, r.deliver(e, subject("null")))
	e = r.envelope("x@y.example", "two@demo.test")
	e.Recipients[0].Notify = smtp.NotifySuccess // the queue's to report
	must(t, r.deliver(e, subject("moved")))
	e = r.envelope("x@y.example", "one@demo.test")
	e.Recipients[0].Notify = smtp.NotifyFailure
	must(t, r.deliver(e, subject("unasked")))
	if n := sources(); n != 0 {
		t.Errorf("%d receipts", n)
	}
	e.Recipients[0].Notify = smtp.NotifySuccess
	must(t, r.deliver(e, subject("asked")))
	if n := sources(); n != 1 {
		t.Errorf("%d receipts, want 1", n)
	}
}
