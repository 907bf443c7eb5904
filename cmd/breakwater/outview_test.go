package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// same compares what a view shows with what it should, line by line.
func same(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for l := range strings.Lines(got) {
		if strings.TrimRight(l, " \n") != strings.TrimSuffix(l, "\n") {
			t.Errorf("blanks at the end of %q", l)
		}
	}
}

func TestViewLife(t *testing.T) {
	l := ledger.Life{
		ID: "k4qz7w2m5x3ra", MessageID: "<1@demo.test>", Source: "submitted", Account: "one@demo.test", Received: noon, Size: 1234,
		Session: "s7", RemoteIP: "192.0.2.7", Protocol: "ESMTPSA", TLS: "TLS 1.3", From: "one@demo.test",
		Signed: []string{"r1._domainkey.demo.test"},
		To: []ledger.LifeTo{{
			Address: "two@example.org", Rcpt: "team@demo.test", Sender: "SRS0=aa=bb=demo.test=one@demo.test", State: "relayed", Attempts: 2,
			Events: []ledger.LifeEvent{
				{At: noon.Add(time.Second), State: "deferred", Via: "mx.example.org [192.0.2.1]:25", Reply: "451 4.7.1 try\r\nlater\x1b[2J", Reason: "greylisted"},
				{At: noon.Add(5 * time.Minute), State: "relayed", Via: "mx.example.org [192.0.2.1]:25", TLS: "dane, TLS 1.3", Reply: "250 2.0.0 ok"},
			},
		}, {
			Address: "three@example.net", State: "deferred", Attempts: 1, Due: noon.Add(time.Hour), Route: "smtp://192.0.2.9:25",
			Events: []ledger.LifeEvent{{At: noon.Add(time.Second), State: "deferred", Reason: "no answer", By: "an operator", DSN: "d1"}},
		}},
	}
	same(t, viewLife(l), `
message k4qz7w2m5x3ra
  Message-ID <1@demo.test>
  accepted   2026-11-20T12:00:00Z, from one@demo.test, 1,234 B
  session    s7, [192.0.2.7], ESMTPSA, TLS 1.3
  sender     one@demo.test
  signed     r1._domainkey.demo.test

  to two@example.org (named as team@demo.test, sender SRS0=aa=bb=demo.test=one@demo.test): relayed after 2 attempts
    2026-11-20T12:00:01Z  deferred   mx.example.org [192.0.2.1]:25
                                     they said: 451 4.7.1 try later?[2J
                                     reason: greylisted
    2026-11-20T12:05:00Z  relayed    mx.example.org [192.0.2.1]:25, TLS: dane, TLS 1.3
                                     they said: 250 2.0.0 ok

  to three@example.net (by smtp://192.0.2.9:25): deferred after 1 attempt, next attempt 2026-11-20T13:00:00Z
    2026-11-20T12:00:01Z  deferred   by an operator
                                     reason: no answer
                                     reported in: d1
`)
	local := viewLife(ledger.Life{ID: "x", Source: "inbound", Received: noon, To: []ledger.LifeTo{{Address: "one@demo.test", State: "delivered"}, {Address: "a@example.org", State: "held", Hold: "no way\tout"}}})
	same(t, local, `
message x
  accepted   2026-11-20T12:00:00Z, from another host, 0 B
  sender     <> (the null reverse-path)

  to one@demo.test: delivered

  to a@example.org: held: no way?out
`)
}

func TestViewBooks(t *testing.T) {
	line := ledger.Line{Messages: 1200, Accepted: 1300, Delivered: 1000, Relayed: 200, Bounced: 50, Discarded: 20, SetAside: 10, Queued: 20}
	b := ledger.Books{Since: noon, Line: line, Balanced: true, Sources: []ledger.Line{line}}
	b.Sources[0].Source = "inbound"
	same(t, viewBooks(b), `
Books of all mail, accepted since 2026-11-20T12:00:00Z

           messages  accepted  delivered  relayed  bounced  discarded  set aside  queued
  inbound     1,200     1,300      1,000      200       50         20         10      20
      all     1,200     1,300      1,000      200       50         20         10      20

They balance: every recipient has a fate.
`)
	bad := ledger.Books{Account: "one@demo.test", Until: noon, Unaccounted: []string{"id1", "record 7"}, More: true}
	same(t, viewBooks(bad), `
Books of what one@demo.test has sent, accepted before 2026-11-20T12:00:00Z

       messages  accepted  delivered  relayed  bounced  discarded  set aside  queued
  all         0         0          0        0        0          0          0       0

They DO NOT balance.
Unaccounted for:
  id1
  record 7
  and more
`)
	same(t, viewAudit(&ledger.Result{
		At: noon, Messages: 1200, Numbers: 1000, Recounted: 400, Open: 1, Bodies: 20, Error: "index stalled",
		Findings: []ledger.Finding{{Check: "queue", ID: "id1", Text: "lost"}, {Check: "given", Text: "one too few"}},
	}), `
Last audit 2026-11-20T12:00:00Z: not finished (index stalled); 2 findings; 1,200 messages, of which 1,000 were looked at one by one and 400 counted anew, 1 open recipient compared with the queue, 20 waiting messages opened.
  queue id1: lost
  given: one too few
`)
}

func TestViewBacklog(t *testing.T) {
	hour, drain := int64(3700), int64(95)
	b := admin.Backlog{
		At: noon, Others: 2,
		Total: admin.BacklogLine{Queued: 12000, Deferred: 30, Active: 5, Oldest: &hour, Rate: 126.6, Drain: &drain},
		Destinations: []admin.BacklogLine{
			{Destination: "example.org", Queued: 12000, Active: 5, Oldest: &hour, Rate: 126.6, Drain: &drain},
			{Destination: "example.net", Deferred: 30, Held: 1, Next: noon.Add(time.Minute), Down: noon.Add(-time.Hour), Error: "no\nroute"},
		},
	}
	same(t, viewBacklog(b), `
Backlog at 2026-11-20T12:00:00Z

DESTINATION  QUEUED  DEFERRED  HELD  ACTIVE  OLDEST  RATE     DRAINED IN  NEXT      LAST ERROR
all          12,000  30        0     5       1h01m   126.6/s  1m35s       now
example.org  12,000  0         0     5       1h01m   126.6/s  1m35s       now
example.net  0       30        1     0               0.0/s    ?           in 1m00s  down for 1h00m: no?route

And 2 destinations more; --limit 0 lists all.
`)
	if got := screenOver("one\ntwo\nthree\n", 3, 2); got != screenHome+"one"+lineRest+"\r\n"+"two"+lineRest+screenRest {
		t.Errorf("on a small screen: %q", got)
	}
}

func TestMoment(t *testing.T) {
	for text, want := range map[string]time.Time{
		"": {}, "24h": noon.Add(-24 * time.Hour), "7d": noon.Add(-7 * 24 * time.Hour), "90s": noon.Add(-90 * time.Second),
		"2026-11-20": noon.Add(-12 * time.Hour), "2026-11-20T13:00:00+01:00": noon, "2026-11-20T12:00": noon, "2026-11-20 12:00:00": noon,
	} {
		if got, err := moment(noon, text); err != nil || !got.Equal(want) {
			t.Errorf("%q = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-1h", "2026-13-01", "24", "1e9d"} {
		if got, err := moment(noon, text); err == nil {
			t.Errorf("%q = %v, want an error", text, got)
		}
	}
}

// TestPrint_empty: a list with nothing in it is a list, in JSON too.
func TestPrint_empty(t *testing.T) {
	var out bytes.Buffer
	if err := (table{JSON: true}).print(console{out: &out}, []string(nil), "A", nil); err != nil || strings.TrimSpace(out.String()) != "[]" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
