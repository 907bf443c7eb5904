package queue

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// parse reads a notice as a sender's program would.
func parse(t *testing.T, n Notice) dsn.Report {
	t.Helper()
	r, err := dsn.Parse(bytes.NewReader(n.Body), int64(len(n.Body)))
	if err != nil {
		t.Fatalf("a notice that is none: %v\n%s", err, n.Body)
	}
	return r
}

// TestReport_notify: who is told of what (RFC 3461 §4.1).
func TestReport_notify(t *testing.T) {
	const never, ok, bad, late = smtp.NotifyNever, smtp.NotifySuccess, smtp.NotifyFailure, smtp.NotifyDelay
	for _, c := range []struct {
		name   string
		notify smtp.Notify
		null   bool
		state  fate.State
		passed bool
		want   dsn.Action // "" is no report
	}{
		{"unstated, bounced", 0, false, fate.Bounced, false, dsn.Failed},
		{"unstated, relayed", 0, false, fate.Relayed, false, ""},
		{"never, bounced", never, false, fate.Bounced, false, ""},
		{"failure, bounced", bad, false, fate.Bounced, false, dsn.Failed},
		{"delay alone, bounced", late, false, fate.Bounced, false, ""},
		{"success alone, bounced", ok, false, fate.Bounced, false, ""},
		{"success, relayed to a host without DSN", ok, false, fate.Relayed, false, dsn.Relayed},
		{"success, relayed to a host with DSN", ok, false, fate.Relayed, true, ""},
		{"success, delivered to a host with DSN", ok, false, fate.Delivered, true, ""},
		{"success, delivered", ok | bad, false, fate.Delivered, false, dsn.Delivered},
		{"null reverse-path, bounced", bad, true, fate.Bounced, false, ""},
		{"null reverse-path, relayed", ok, true, fate.Relayed, false, ""},
		{"unstated, set aside", 0, false, fate.SetAside, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newBooks(t).live()
				_, end := begin(t, l, Options{}, carrier(func(_ context.Context, j Job) Result {
					r := all(j, Up, fate.Event{State: c.state, Via: "mx.example.org [192.0.2.1]:25", Reply: "550 5.1.1 nobody", Reason: "It said so."})
					r.Outcomes[0].Passed = c.passed
					return r
				}))
				m := mail("a@example.org")
				m.Recipients[0].Notify = c.notify
				if c.null {
					m.From = message.Address{}
				}
				lsn := l.accept(m)
				time.Sleep(time.Minute)
				wantState(t, l, lsn, 0, c.state)
				end()
				if c.want == "" {
					if len(l.told()) != 0 {
						t.Fatalf("told: %s", l.told()[0].Body)
					}
					return
				}
				if len(l.told()) != 1 {
					t.Fatalf("%d notices", len(l.told()))
				}
				n := l.told()[0]
				r := parse(t, n)
				if n.To != m.From || !n.Sender.IsZero() || n.Receipt != (c.want != dsn.Failed) ||
					len(r.Recipients) != 1 || r.Recipients[0].Action != c.want || r.Recipients[0].Final != addr("a@example.org") {
					t.Errorf("notice to %v: %+v", n.To, r)
				}
				if len(n.Changes) != 1 || n.Changes[0].State != c.state || !n.Changes[0].Attempt {
					t.Errorf("changes with it: %+v", n.Changes)
				}
			})
		})
	}
}

// TestReport_alias: the sender hears of the address that it named, not of
// where that leads.
func TestReport_alias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		_, end := begin(t, l, Options{}, says(0, Up, fate.Event{State: fate.Bounced, Reply: "550 5.1.1 nobody"}))
		m := mail("hidden@example.org")
		m.Recipients[0].Rcpt = addr("alias@demo.test")
		l.accept(m)
		time.Sleep(time.Minute)
		end()
		if r := parse(t, l.told()[0]); r.Recipients[0].Final != addr("alias@demo.test") || strings.Contains(string(l.told()[0].Body), "hidden") {
			t.Errorf("the report names %v:\n%s", r.Recipients[0].Final, l.told()[0].Body)
		}
	})
}

// TestReport_oneForAMessage: recipients that fail together are told of
// together, the others are not mentioned.
func TestReport_oneForAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		_, end := begin(t, l, Options{}, carrier(func(_ context.Context, j Job) Result {
			r := all(j, Up, relayed())
			r.Outcomes[0] = Outcome{Event: fate.Event{State: fate.Bounced, Reply: "550 5.1.1 nobody"}}
			r.Outcomes[2] = Outcome{Event: fate.Event{State: fate.Bounced, Reply: "552 5.2.2 full"}}
			return r
		}))
		lsn := l.accept(mail("a@example.org", "b@example.org", "c@example.org"))
		time.Sleep(time.Minute)
		end()
		if len(l.told()) != 1 {
			t.Fatalf("%d notices", len(l.told()))
		}
		if r := parse(t, l.told()[0]); len(r.Recipients) != 2 || r.Recipients[1].Final != addr("c@example.org") {
			t.Errorf("told of %+v", r.Recipients)
		}
		wantState(t, l, lsn, 1, fate.Relayed)
	})
}

// TestReport_delayThenEnd: after four hours the sender is told once that it
// takes long, after five days that it was given up. A restart makes no second
// warning of it, and who does not want to hear of delays does not.
func TestReport_delayThenEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		c := says(time.Second, Down, fate.Event{State: fate.Deferred, Reason: "No host of it can be reached."})
		l := b.live()
		_, end := begin(t, l, Options{}, c)
		m := mail("a@example.org", "b@example.org", "c@example.net")
		m.Recipients[1].Notify = smtp.NotifyFailure
		lsn := l.accept(m)
		time.Sleep(5 * time.Hour)
		end()
		l = b.live()
		_, end = begin(t, l, Options{}, c)
		time.Sleep(4 * 24 * time.Hour)
		synctest.Wait()
		if len(l.told()) != 1 {
			t.Fatalf("%d notices after four days", len(l.told()))
		}
		told := 0
		for _, n := range l.told() {
			for _, r := range parse(t, n).Recipients {
				told++
				if r.Action != dsn.Delayed || r.Final == addr("b@example.org") || r.RetryUntil.Sub(m.Received) != 5*24*time.Hour {
					t.Errorf("told of a delay: %+v", r)
				}
			}
		}
		time.Sleep(2 * 24 * time.Hour)
		end()
		ends := map[string]int{}
		for _, n := range l.told()[1:] {
			for _, r := range parse(t, n).Recipients {
				ends[r.Final.String()]++
				if r.Action != dsn.Failed {
					t.Errorf("told of the end: %+v", r)
				}
			}
		}
		if told != 2 || len(ends) != 3 {
			t.Errorf("warned of %d, told of the end of %v", told, ends)
		}
		for i := range 3 {
			r := wantState(t, l, lsn, i, fate.Bounced)
			if !strings.Contains(r.Last.Reason, "5 days") || !strings.Contains(r.Last.Reason, "reached") || !r.Warned == (i != 1) {
				t.Errorf("recipient %d: %+v, warned %v", i, r.Last, r.Warned)
			}
		}
	})
}

// TestReport_cannotBePosted: while the sender cannot be told, a recipient that
// bounced is not over: it is told of later, once.
func TestReport_cannotBePosted(t *testing.T) {
	for _, state := range []fate.State{fate.Bounced, fate.Deferred, fate.Relayed} {
		t.Run(state.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newBooks(t).live()
				var down atomic.Bool
				down.Store(true)
				l.refuse2 = func(Notice) error {
					if down.Load() {
						return errors.New("no room")
					}
					return nil
				}
				_, end := begin(t, l, Options{Expire: time.Hour, Warn: 2 * time.Hour}, says(0, Up, fate.Event{State: state}))
				m := mail("a@example.org")
				m.Recipients[0].Notify = smtp.NotifySuccess | smtp.NotifyFailure
				lsn := l.accept(m)
				time.Sleep(3 * time.Hour)
				want, notices := fate.Bounced, 1
				if state == fate.Relayed {
					want, notices = fate.Relayed, 0 // it is there: nobody is told, and nothing is sent twice
				} else {
					wantState(t, l, lsn, 0, fate.Deferred)
				}
				down.Store(false)
				time.Sleep(8 * time.Hour)
				wantState(t, l, lsn, 0, want)
				end()
				if len(l.told()) != notices {
					t.Errorf("%d notices", len(l.told()))
				}
			})
		})
	}
}

// TestReport_neverPosted: a sender who can never be told keeps nothing open
// for ever.
func TestReport_neverPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		l.refuse2 = func(Notice) error { return errors.New("no such way") }
		_, end := begin(t, l, Options{}, says(0, Up, fate.Event{State: fate.Bounced}))
		lsn := l.accept(mail("a@example.org"))
		time.Sleep(6*24*time.Hour + 5*time.Hour)
		wantState(t, l, lsn, 0, fate.Bounced)
		end()
	})
}

// TestReport_tellsNobodyWhereItLed: what is behind an alias or a forward is not
// for the sender to know, though the host that refuses it says so.
func TestReport_tellsNobodyWhereItLed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		_, end := begin(t, l, Options{}, carrier(func(_ context.Context, j Job) Result {
			return all(j, Up, fate.Event{
				State: fate.Bounced, Via: "mx.example.org [192.0.2.1]:25",
				Reply: "550 5.1.1 <Secret@Example.ORG>: secret@example.org is unknown", Reason: "It refused secret@example.org.",
			})
		}))
		m := mail("secret@example.org")
		m.Recipients[0].Rcpt = message.Address{Local: "info", Domain: "demo.test"}
		lsn := l.accept(m)
		time.Sleep(time.Minute)
		wantState(t, l, lsn, 0, fate.Bounced)
		end()
		if len(l.told()) != 1 {
			t.Fatalf("%d notices", len(l.told()))
		}
		body := string(l.told()[0].Body)
		if strings.Contains(strings.ToLower(body), "secret@") || !strings.Contains(body, "<info@demo.test>: info@demo.test is unknown") {
			t.Errorf("told:\n%s", body)
		}
	})
}

// TestReport_requireTLS: what was not to be seen on its way does not come back
// in the clear.
func TestReport_requireTLS(t *testing.T) {
	for _, c := range []struct {
		asked smtp.Ret
		tls   bool
		want  smtp.Ret
	}{{smtp.RetFull, false, smtp.RetFull}, {smtp.RetFull, true, smtp.RetHeaders}, {smtp.RetHeaders, false, smtp.RetHeaders}, {0, true, smtp.RetHeaders}} {
		m := mail("a@example.org")
		m.Ret, m.RequireTLS = c.asked, c.tls
		if got := returned(m); got != c.want {
			t.Errorf("%v, REQUIRETLS %v: %v is returned", c.asked, c.tls, got)
		}
	}
}
