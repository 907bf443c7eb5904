package fate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var sampleTime = time.UnixMicro(1700000000123456).UTC()

// sampleMessage has every field that we write.
func sampleMessage() *Message {
	m := &Message{
		ID: "01J0000000ENVELOPE", Source: Submitted, Account: 7, Received: sampleTime, Size: 4321, MessageID: "<x@demo.test>",
		Session: "01J0000000SESSION", RemoteIP: netip.MustParseAddr("2001:db8::1"), Protocol: "ESMTPSA", TLS: "TLS 1.3",
		From: message.Address{Local: "one", Domain: "demo.test"}, Body: smtp.Body8BitMIME, UTF8: true, RequireTLS: true,
		Ret: smtp.RetHeaders, EnvID: "QQ314159", Skip: 33, Headers: "DKIM-Signature: v=1\r\n",
		Recipients: []Recipient{
			{Address: message.Address{Local: "two words", Domain: "demo.test"}, Account: 9,
				Standing: Standing{State: Delivered, Last: Event{At: sampleTime, State: Delivered, Via: "INBOX of two@demo.test"}}},
			{Address: message.Address{Local: "three", Domain: "example.org"}, Rcpt: message.Address{Local: "alias", Domain: "demo.test"},
				Sender: message.Address{Local: "SRS0=x", Domain: "demo.test"}, Notify: smtp.NotifyDelay | smtp.NotifyFailure, Orcpt: "rfc822;alias@demo.test",
				Standing: Standing{State: Held, Due: sampleTime.Add(time.Hour), Route: "smtp://relay.example.org:25",
					Last: Event{At: sampleTime.Add(time.Second), State: Held, Reason: "Too many recipients.", By: "restraint"}}},
			{Address: message.Address{Local: "four", Domain: "example.org"}, Standing: Standing{State: Queued}},
		},
	}
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.Last != (Event{}) {
			r.Events = []Event{r.Last}
		}
	}
	return m
}

func sampleEvents() []Event {
	return []Event{
		{At: sampleTime, State: Deferred, Via: "mx.example.org [192.0.2.1]:25", TLS: "none offered", Reply: "451 later", Reason: "It asked to come again."},
		{At: sampleTime.Add(time.Minute), State: Deferred, Via: "mx.example.org [192.0.2.1]:25", TLS: "none offered", Reply: "450 later", Reason: "It asked to come again."},
		{At: sampleTime.Add(time.Hour), State: Bounced, Reason: "Nobody took it.", DSN: "01J0000000DSN", By: "one@demo.test"},
	}
}

func sampleChanges() []Change {
	route, none := "smtps://relay.example.org:465", ""
	return []Change{
		{LSN: 1<<40 + 5, Rcpt: []int{0, 3, 4}, Event: sampleEvents()[0], Due: sampleTime.Add(time.Hour), Attempt: true, Warned: true, Route: &route},
		{LSN: 9, Rcpt: []int{7}, Event: sampleEvents()[2], Route: &none},
		{LSN: 9, Rcpt: []int{8}, Event: sampleEvents()[2], Owe: ToldRelayed},
	}
}

// packChange is AppendChange of a change that there can be.
func packChange(c Change) []byte {
	b, err := AppendChange(nil, &c)
	if err != nil {
		panic(err)
	}
	return b
}

func sampleState() messageState {
	return messageState{lsn: 1<<40 + 5, facts: value(AppendAccepted(nil, sampleMessage())), standings: []placed{
		{1, standing{state: Deferred, due: 1700003600123456, attempts: 3, changed: 1700000000123456, warned: true,
			route: "smtp://relay.example.org:25", last: 1<<40 + 9, events: packEvents(nil, sampleEvents())}},
		{2, standing{state: Relayed}},
	}}
}

// The bytes of records are frozen: what is written today must be read for ever.
func TestFormat_golden(t *testing.T) {
	var out bytes.Buffer
	show := func(what string, b []byte) { fmt.Fprintf(&out, "%s\n%s\n", what, hex.Dump(b)) }
	show("accepted", AppendAccepted(nil, sampleMessage()))
	for _, c := range sampleChanges() {
		show("change", packChange(c))
	}
	p := purged{floor: 1<<40 + 77, kept: []journal.LSN{5, 1<<40 + 3}}
	show("purged", p.append(nil, tagPurged))
	show("state: purged", p.append(nil, tagStatePurged))
	m := sampleState()
	show("state: message", m.append(nil))
	show("events", packEvents(nil, sampleEvents()))
	o := Owed{LSN: 9, Successes: map[int]Success{0: ToldDelivered, 2: ToldExpanded, 3: ToldDelivered}}
	show("owed", AppendOwed(nil, o))
	show("state: owed", o.append(nil, tagStateOwed))
	show("told", AppendTold(nil, o))
	name := filepath.Join("testdata", "records.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Errorf("the format has changed (golden -, now +):\n%s", d)
	}
}

// value strips a record's one field of tag and length.
func value(b []byte) []byte {
	for _, v := range journal.Fields(b) {
		return v
	}
	return nil
}

func alike(t *testing.T, what string, got, want any) {
	t.Helper()
	opts := []cmp.Option{cmpopts.EquateEmpty(), cmp.AllowUnexported(messageState{}, placed{}, standing{}, purged{}), cmpopts.EquateComparable(netip.Addr{})}
	if d := cmp.Diff(want, got, opts...); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

func TestFormat_roundTrip(t *testing.T) {
	loose := sampleMessage()
	loose.RequireTLS, loose.TLSOptional = false, true
	for _, want := range []*Message{sampleMessage(), loose} {
		m, err := decodeAccepted(value(AppendAccepted(nil, want)))
		if err != nil {
			t.Fatal(err)
		}
		alike(t, "message", m, want)
	}
	for _, c := range sampleChanges() {
		got, err := decodeChange(value(packChange(c)))
		if err != nil {
			t.Fatal(err)
		}
		alike(t, "change", got, c)
	}
	p := purged{floor: 1<<40 + 77, kept: []journal.LSN{5, 1<<40 + 3}}
	q, err := decodePurged(value(p.append(nil, tagPurged)))
	if err != nil {
		t.Fatal(err)
	}
	alike(t, "purged", q, p)
	s := sampleState()
	again, err := decodeMessageState(value(s.append(nil)))
	if err != nil {
		t.Fatal(err)
	}
	alike(t, "state", again, s)
	es, err := unpackEvents(s.standings[0].events, nil)
	if err != nil {
		t.Fatal(err)
	}
	alike(t, "events", es, sampleEvents())
}

// A change that could not be read back is not written: it would take all else
// that its record says with it.
func TestAppendChange_impossible(t *testing.T) {
	for _, c := range []Change{
		{Rcpt: []int{0}},
		{LSN: 9},
		{LSN: 9, Rcpt: make([]int, recipientsMax+1)},
		{LSN: 9, Rcpt: []int{-1}},
		{LSN: 9, Rcpt: []int{3, 3}},
		{LSN: 9, Rcpt: []int{3, 2}},
		{LSN: 9, Rcpt: []int{0}, Event: Event{State: 5}},
		{LSN: 9, Rcpt: []int{0}, Owe: ToldExpanded + 1},
	} {
		if b, err := AppendChange([]byte("a"), &c); !errors.Is(err, errMalformed) || string(b) != "a" {
			t.Errorf("%+v became %q, %v", c, b, err)
		}
	}
}

// A field that this program does not know is passed over.
func TestFormat_newerFields(t *testing.T) {
	b := value(AppendAccepted(nil, sampleMessage()))
	m, err := decodeAccepted(journal.AppendString(bytes.Clone(b), 0x7f, "newer"))
	if err != nil {
		t.Fatal(err)
	}
	alike(t, "message", m, sampleMessage())
	c := sampleChanges()[0]
	got, err := decodeChange(journal.AppendString(value(packChange(c)), 0x7f, "newer"))
	if err != nil {
		t.Fatal(err)
	}
	alike(t, "change", got, c)
}

// Every Message can be written: what does not fit is cut.
func TestFormat_hugeTexts(t *testing.T) {
	e := Event{Via: strings.Repeat("v", 9_999), TLS: strings.Repeat("ü", 9_999), Reply: strings.Repeat("\xff", 9_999), Reason: strings.Repeat("r", 9_999),
		DSN: strings.Repeat("d", 9_999), By: strings.Repeat("b", 9_999)}
	es, err := unpackEvents(packEvents(nil, []Event{e, e}), nil)
	if err != nil || len(es) != 2 || es[0] != es[1] {
		t.Fatalf("%d events, %v", len(es), err)
	}
	if n := len(es[0].Via) + len(es[0].TLS) + len(es[0].DSN) + len(es[0].By); n > 4*textMax || len(es[0].Reply) > ReplyMax || len(es[0].Reason) > ReasonMax {
		t.Errorf("%d octets, reply %d, reason %d", n, len(es[0].Reply), len(es[0].Reason))
	}
}

// The scan for the tables agrees with the whole reading.
func FuzzDecodeAccepted(f *testing.F) {
	f.Add(value(AppendAccepted(nil, sampleMessage())))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeAccepted(b)
		s, scanErr := scanAccepted(b, nil)
		if err != nil {
			return
		}
		if scanErr != nil {
			t.Fatalf("cannot scan what can be read: %v", scanErr)
		}
		if int(s.tally.Accepted) != len(m.Recipients) || s.account != m.Account || s.received != micros(m.Received) {
			t.Fatalf("scanned %+v of %+v", s, m)
		}
		var again *Message
		for _, v := range journal.Fields(AppendAccepted(nil, m)) {
			if again, err = decodeAccepted(v); err != nil {
				t.Fatalf("cannot read back what was read: %v", err)
			}
		}
		third, err := decodeAccepted(value(AppendAccepted(nil, again)))
		if err != nil {
			t.Fatal(err)
		}
		alike(t, "read back", third, again)
	})
}

func FuzzDecodeChange(f *testing.F) {
	for _, c := range sampleChanges() {
		f.Add(value(packChange(c)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChange(b)
		if err != nil {
			return
		}
		first, err := decodeChange(value(packChange(c)))
		if err != nil {
			t.Fatalf("cannot read back what was read: %v", err)
		}
		again, err := decodeChange(value(packChange(first)))
		if err != nil {
			t.Fatal(err)
		}
		alike(t, "read back", again, first)
	})
}

func FuzzDecodeState(f *testing.F) {
	m := sampleState()
	f.Add(value(m.append(nil)))
	p := purged{floor: 1<<40 + 77, kept: []journal.LSN{5, 1<<40 + 3}}
	f.Add(value(p.append(nil, tagPurged)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMessageState(b); err == nil {
			again, err := decodeMessageState(value(m.append(nil)))
			if err != nil {
				t.Fatalf("cannot read back what was read: %v", err)
			}
			alike(t, "read back", again, m)
			for _, p := range m.standings {
				remember(p.events, sampleEvents()[0])
			}
		}
		if p, err := decodePurged(b); err == nil {
			again, err := decodePurged(value(p.append(nil, tagPurged)))
			if err != nil {
				t.Fatalf("cannot read back what was read: %v", err)
			}
			alike(t, "read back", again, p)
		}
	})
}

func FuzzDecodeOwed(f *testing.F) {
	o := Owed{LSN: 7, Successes: map[int]Success{0: ToldDelivered, 3: ToldDelivered}}
	f.Add(value(AppendOwed(nil, o)))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOwed(b)
		if err != nil {
			return
		}
		all := Owed{LSN: o.lsn, Successes: map[int]Success{}}
		for _, n := range o.places {
			all.Successes[n] = o.success
		}
		again, err := decodeOwed(value(AppendTold(nil, all)))
		if err != nil || again.lsn != o.lsn || again.success != o.success || !slices.Equal(again.places, o.places) {
			t.Fatalf("%+v was read back as %+v, %v", o, again, err)
		}
	})
}

func FuzzUnpackEvents(f *testing.F) {
	f.Add(packEvents(nil, sampleEvents()))
	f.Fuzz(func(t *testing.T, b []byte) {
		es, err := unpackEvents(b, nil)
		if err != nil {
			return
		}
		first, err := unpackEvents(packEvents(nil, es), nil)
		if err != nil {
			t.Fatalf("cannot read back what was read: %v", err)
		}
		again, err := unpackEvents(packEvents(nil, first), nil)
		if err != nil {
			t.Fatal(err)
		}
		alike(t, "read back", again, first)
	})
}
