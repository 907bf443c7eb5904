package ledger

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
)

func TestClose_balances(t *testing.T) {
	b := &table{messages: []*fate.Message{
		accepted(t, 1, fate.Relayed, fate.Bounced, fate.Deferred),
		accepted(t, 2, fate.Delivered, fate.Discarded, fate.SetAside, fate.Held, fate.Queued),
	}}
	b.messages[1].Source, b.messages[1].Account = fate.Inbound, 0
	got, err := New(Options{}, b).Close(t.Context(), Period{})
	if err != nil {
		t.Fatal(err)
	}
	want := Line{Messages: 2, Accepted: 8, Delivered: 1, Relayed: 1, Bounced: 1, Discarded: 1, SetAside: 1, Queued: 3}
	if got.Line != want || !got.Balanced || len(got.Unaccounted) != 0 {
		t.Errorf("books = %+v, want %+v that balance", got, want)
	}
	if len(got.Sources) != 2 || got.Sources[0].Source != "inbound" || got.Sources[0].Accepted != 5 || got.Sources[1].Accepted != 3 {
		t.Errorf("by source = %+v", got.Sources)
	}
}

// The keys of the JSON are a contract: architecture.md §8.
func TestClose_json(t *testing.T) {
	got, err := New(Options{}, &table{}).Close(t.Context(), Period{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(b, &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"accepted", "delivered", "relayed", "bounced", "discarded", "set_aside", "queued"} {
		if keys[k] != 0.0 {
			t.Errorf("%s = %v, want 0: %s", k, keys[k], b)
		}
	}
	if list, ok := keys["unaccounted"].([]any); !ok || len(list) != 0 {
		t.Errorf("unaccounted = %v, want an empty list", keys["unaccounted"])
	}
}

func TestClose_doesNotBalance(t *testing.T) {
	named := fate.Sums{Tally: fate.Tally{Accepted: 1}, Unaccounted: []string{"lost"}}
	for name, c := range map[string]struct {
		sums  fate.Sums
		aside asides
		want  []string
	}{
		"a difference": {sums: fate.Sums{Tally: fate.Tally{Accepted: 1}}},
		"an id":        {sums: named, want: []string{"lost"}},
		"a record":     {aside: asides{{LSN: 7}}, want: []string{fate.RecordName(7)}},
		"both":         {sums: named, aside: asides{{LSN: 7}}, want: []string{"lost", fate.RecordName(7)}},
	} {
		got, err := New(Options{Asides: c.aside}, &table{extra: c.sums}).Close(t.Context(), Period{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Balanced || !slices.Equal(got.Unaccounted, append([]string{}, c.want...)) {
			t.Errorf("%s: %+v, want %v unaccounted", name, got, c.want)
		}
	}
	many := fate.Sums{}
	for range idsMax + 1 {
		many.Unaccounted = append(many.Unaccounted, "x")
	}
	got, err := New(Options{}, &table{extra: many}).Close(t.Context(), Period{})
	if err != nil || len(got.Unaccounted) != idsMax || !got.More {
		t.Errorf("%d ids, more: %v, %v", len(got.Unaccounted), got.More, err)
	}
}

func TestTrace_findsByAnyName(t *testing.T) {
	b := &table{messages: []*fate.Message{accepted(t, 1, fate.Relayed), accepted(t, 2, fate.Queued), accepted(t, 3, fate.Queued)}}
	for i, name := range []string{"<a@demo.test>", "<b@demo.test>", "<one@demo.test>"} {
		b.messages[i].MessageID = name
	}
	l := New(Options{}, b)
	for what, want := range map[string]int{
		"<a@demo.test>": 1, "b@demo.test": 1, b.messages[2].ID: 1, "nothing": 0, "<nothing@demo.test>": 0,
		"two@example.org": 3, "one@demo.test": 3, "two@example.net": 0, "not an address@": 0,
	} {
		got, err := l.Trace(t.Context(), Query{What: what})
		if err != nil || len(got.Lives) != want || got.More {
			t.Errorf("trace %s: %d lives, %v, want %d", what, len(got.Lives), err, want)
		}
	}
	got, err := l.Trace(t.Context(), Query{What: "one@demo.test", Since: day.Add(2 * time.Second), Limit: 1})
	if err != nil || len(got.Lives) != 1 || got.Lives[0].ID != b.messages[2].ID || !got.More {
		t.Errorf("the newest of those since: %+v, %v", got, err)
	}
	b.messages[2].Recipients = make([]fate.Recipient, linesMax)
	b.messages[2].Recipients[0].Address = address(t, "two@example.org")
	got, err = l.Trace(t.Context(), Query{What: "two@example.org"})
	if err != nil || len(got.Lives) != 1 || !got.More {
		t.Errorf("%d lives with a long one, more: %v, %v", len(got.Lives), got.More, err)
	}
}

func TestTrace_tellsAll(t *testing.T) {
	m := accepted(t, 1, fate.Bounced)
	m.Headers = "DKIM-Signature: v=1; a=rsa-sha256; d=demo.test;\r\n\ts=r2026; bh=abc=; b=def\r\nX-Other: s=no; d=no\r\n" +
		"dkim-signature: v=1; a=ed25519-sha256; s=e2026; d=demo.test; b=x\r\n"
	r := &m.Recipients[0]
	r.Rcpt, r.Sender = address(t, "sales@demo.test"), address(t, "SRS0=x=y=demo.test=one@demo.test")
	r.Attempts = 2
	r.Events[1].Reply, r.Events[1].DSN = "550 5.1.1 no such user", "dsn1"
	got, err := New(Options{}, &table{messages: []*fate.Message{m}}).Trace(t.Context(), Query{What: m.ID})
	if err != nil || len(got.Lives) != 1 {
		t.Fatal(got, err)
	}
	l := got.Lives[0]
	if want := []string{"r2026._domainkey.demo.test", "e2026._domainkey.demo.test"}; !slices.Equal(l.Signed, want) {
		t.Errorf("signed = %v, want %v", l.Signed, want)
	}
	to := l.To[0]
	if to.Rcpt != "sales@demo.test" || !strings.HasPrefix(to.Sender, "SRS0=") || to.State != "bounced" || to.Attempts != 2 ||
		len(to.Events) != 2 || to.Events[1].Reply != "550 5.1.1 no such user" || to.Events[1].DSN != "dsn1" {
		t.Errorf("recipient = %+v", to)
	}
	if l.Account != "account 1" || l.From != "one@demo.test" || l.Received != m.Received {
		t.Errorf("life = %+v", l)
	}
}

// A message that is filed when it is accepted has no events, and one whose
// events were not kept has the last.
func TestTrace_withoutEvents(t *testing.T) {
	m := accepted(t, 1, fate.Delivered, fate.Queued)
	m.Recipients[0].Last = fate.Event{At: day, State: fate.Delivered, Via: "INBOX of two@example.org"}
	m.Recipients[1].Due = day
	got, err := New(Options{}, &table{messages: []*fate.Message{m}}).Trace(t.Context(), Query{What: m.ID})
	if err != nil || len(got.Lives) != 1 {
		t.Fatal(got, err)
	}
	if e := got.Lives[0].To[0].Events; len(e) != 1 || e[0].Via != "INBOX of two@example.org" {
		t.Errorf("events = %+v", e)
	}
	if to := got.Lives[0].To[1]; len(to.Events) != 0 || to.Due != day {
		t.Errorf("waiting = %+v", to)
	}
}

// TestTrace_held: what only the queue holds is told of as held, and why.
func TestTrace_held(t *testing.T) {
	m := accepted(t, 1, fate.Relayed, fate.Queued, fate.Deferred, fate.Held)
	m.Recipients[1].Due, m.Recipients[2].Due = day, day
	l := New(Options{}, &table{messages: []*fate.Message{m}}).Asking(func(asked *fate.Message, rcpt int) string {
		if asked != m || rcpt != 1 && rcpt != 2 {
			t.Errorf("asked for recipient %d", rcpt)
		}
		if rcpt == 1 {
			return "there is no way out"
		}
		return ""
	})
	got, err := l.Trace(t.Context(), Query{What: m.ID})
	if err != nil || len(got.Lives) != 1 {
		t.Fatal(got, err)
	}
	to := got.Lives[0].To
	if to[1].State != "held" || to[1].Hold != "there is no way out" || !to[1].Due.IsZero() {
		t.Errorf("without a way: %+v", to[1])
	}
	if to[2].State != "deferred" || to[2].Hold != "" || to[2].Due != day || to[3].State != "held" || to[3].Hold != "" {
		t.Errorf("the others: %+v, %+v", to[2], to[3])
	}
}

var _ Asides = (*index.Index)(nil)
