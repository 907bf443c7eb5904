package queue

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestReport_ownFindings: what this host found out by itself begins with its
// status code, which is the report's Status and no part of its sentence.
func TestReport_ownFindings(t *testing.T) {
	for _, c := range []struct {
		name   string
		event  fate.Event
		after  time.Duration
		status smtp.EnhancedCode
		says   string
		never  string // is not in the text for people
	}{
		{"refused by ourselves", fate.Event{State: fate.Bounced, Reason: "5.1.10 The domain example.org takes no mail (null MX)."},
			time.Minute, "5.1.10", "The domain example.org takes no mail", "5.1.10 The"},
		{"given up", fate.Event{State: fate.Deferred, Reason: "4.4.1 The host did not answer in time."},
			6 * 24 * time.Hour, "4.4.1", "Given up after 5 days. The host did not answer", "4.4.1 The"},
		{"given up untried", fate.Event{State: fate.Deferred, Reason: "A fault."},
			6 * 24 * time.Hour, "4.4.7", "Given up after 5 days. A fault.", "4.4.7 A"},
		{"the remote's words go first", fate.Event{State: fate.Bounced, Reply: "550 5.1.1 nobody", Reason: "5.7.1 is not ours here."},
			time.Minute, "5.1.1", "5.7.1 is not ours here.", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newBooks(t).live()
				_, end := begin(t, l, Options{Warn: -1}, says(0, Up, c.event))
				lsn := l.accept(mail("a@example.org"))
				time.Sleep(c.after)
				r := wantState(t, l, lsn, 0, fate.Bounced)
				end()
				told := l.told()
				if len(told) != 1 {
					t.Fatalf("%d reports", len(told))
				}
				rc := parse(t, told[0]).Recipients[0]
				if rc.Action != dsn.Failed || rc.Status != c.status {
					t.Errorf("action %s, status %s, want %s", rc.Action, rc.Status, c.status)
				}
				text := strings.Join(strings.Fields(string(told[0].Body)), " ")
				if !strings.Contains(text, c.says) || c.never != "" && strings.Contains(text, c.never) {
					t.Errorf("the report says\n%s", told[0].Body)
				}
				if r.Last.Reply == "" && !strings.HasPrefix(r.Last.Reason, string(c.status)+" ") {
					t.Errorf("the books say %q", r.Last.Reason)
				}
			})
		})
	}
}

// TestReport_delayStatus: a delay has a code of the class 4, or one that says
// no more.
func TestReport_delayStatus(t *testing.T) {
	for reason, want := range map[string]smtp.EnhancedCode{
		"4.4.1 The host did not answer in time.": "4.4.1",
		"5.1.1 Refused for good, but.":           "4.0.0",
		"No code.":                               "4.0.0",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newBooks(t).live()
			_, end := begin(t, l, Options{}, says(0, Up, fate.Event{State: fate.Deferred, Reason: reason}))
			l.accept(mail("a@example.org"))
			time.Sleep(5 * time.Hour)
			end()
			told := l.told()
			if len(told) != 1 {
				t.Fatalf("%d reports", len(told))
			}
			if rc := parse(t, told[0]).Recipients[0]; rc.Action != dsn.Delayed || rc.Status != want {
				t.Errorf("%q: action %s, status %s, want %s", reason, rc.Action, rc.Status, want)
			}
		})
	}
}

// TestReport_noWay: who waits since this host knows no way is told of that.
func TestReport_noWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		o := Options{Router: func(o fate.Open) (string, string) { return string(o.Domain), "this host sends nothing to others" }}
		_, end := begin(t, l, o, says(0, Up, relayed()))
		lsn := l.accept(mail("a@example.org"))
		time.Sleep(6 * 24 * time.Hour)
		r := wantState(t, l, lsn, 0, fate.Bounced)
		end()
		if want := "4.4.7 Given up after 5 days. No attempt has been possible yet: this host sends nothing to others."; r.Last.Reason != want {
			t.Errorf("%q", r.Last.Reason)
		}
		for _, n := range l.told() {
			if !strings.Contains(strings.Join(strings.Fields(string(n.Body)), " "), "this host sends nothing to others") {
				t.Errorf("the report says\n%s", n.Body)
			}
		}
	})
}
