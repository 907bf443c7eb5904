package fate_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// load gives a message once all that is durable is in the tables.
func (w *world) load(t *testing.T, lsn journal.LSN) *fate.Message {
	t.Helper()
	must(t, w.x.Wait(background, w.j.Durable()))
	m, err := w.s.Load(background, lsn)
	must(t, err)
	return m
}

// A message's life: accepted, deferred, relayed for one and bounced for the
// other with a DSN that tells of it.
func TestStore_life(t *testing.T) {
	w := newWorld(t, 0)
	m := w.message("A", 2)
	must(t, w.deliver(m, nil))
	at := w.clock.Now().Add(time.Minute).UTC()
	due := at.Add(time.Hour)
	must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0, 1}, Attempt: true, Due: due, Warned: true,
		Event: fate.Event{At: at, State: fate.Deferred, Via: "mx.example.org [192.0.2.1]:25", TLS: "none offered", Reply: "451 4.3.0 later"}}))
	got := w.load(t, m.LSN)
	r := got.Recipients[1]
	if r.State != fate.Deferred || r.Attempts != 1 || !r.Due.Equal(due) || !r.Changed.Equal(at) || !r.Warned || r.Last.Reply != "451 4.3.0 later" {
		t.Errorf("deferred: %+v", r)
	}
	route := "smtp://relay.example.org:25"
	must(t, w.s.Commit(background,
		fate.Change{LSN: m.LSN, Rcpt: []int{0}, Attempt: true, Event: fate.Event{State: fate.Relayed, Reply: "250 2.0.0 taken"}},
		fate.Change{LSN: m.LSN, Rcpt: []int{1}, Route: &route, Event: fate.Event{By: "operator"}}))
	r = w.load(t, m.LSN).Recipients[1]
	if r.State != fate.Deferred || r.Route != route || !r.Due.IsZero() || r.Last.State != fate.Deferred || r.Last.By != "operator" {
		t.Errorf("rerouted: %+v", r)
	}
	dsn := w.message("D", 1)
	dsn.Source, dsn.Account, dsn.From = fate.System, 0, message.Address{}
	must(t, w.deliver(dsn, nil, fate.Change{LSN: m.LSN, Rcpt: []int{1}, Event: fate.Event{At: at, State: fate.Bounced, Reason: "Nobody there.", DSN: "D"}}))
	// What has ended never changes again.
	must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0, 1}, Event: fate.Event{State: fate.Queued}}))
	got = w.load(t, m.LSN)
	if a, b := got.Recipients[0], got.Recipients[1]; a.State != fate.Relayed || len(a.Events) != 2 || b.State != fate.Bounced || b.Last.DSN != "D" || len(b.Events) != 3 {
		t.Errorf("ended: %+v", got.Recipients)
	}
	if len(w.open) != 1 {
		t.Errorf("the queue knows %v", w.open)
	}
	sums, err := w.s.Sums(background, fate.Period{})
	if want := (fate.Tally{Messages: 2, Accepted: 3, Relayed: 1, Bounced: 1, Queued: 1}); err != nil || sums.Tally != want || len(sums.Unaccounted) > 0 {
		t.Errorf("sums are %+v, %v", sums, err)
	}
	sums, err = w.s.Sums(background, fate.Period{Account: 7})
	if want := (fate.Tally{Messages: 1, Accepted: 2, Relayed: 1, Bounced: 1}); err != nil || sums.Tally != want || len(sums.Unaccounted) > 0 {
		t.Errorf("sums of account 7 are %+v, %v", sums, err)
	}
	must(t, w.same())
}

// Local recipients take no rows; filings and fates are one record.
func TestStore_local(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.m.Provision(background, 1))
	inbox, err := w.m.Lookup(background, 1, "INBOX")
	must(t, err)
	m := w.message("A", 2)
	m.Recipients[0].State, m.Recipients[0].Account = fate.Delivered, 1
	m.Recipients[0].Last = fate.Event{At: m.Received, State: fate.Delivered, Via: "INBOX of r0@example.org"}
	must(t, w.deliver(m, []mailbox.Filing{{Account: 1, Mailbox: inbox.ID}}))
	r := w.load(t, m.LSN).Recipients[0]
	if r.State != fate.Delivered || r.Last != m.Recipients[0].Last || len(r.Events) != 1 {
		t.Errorf("local recipient: %+v", r)
	}
	if st, err := w.m.GetStatus(background, inbox.ID); err != nil || st.Messages != 1 {
		t.Errorf("INBOX: %+v, %v", st, err)
	}
	dump, err := w.dump()
	if err != nil || strings.Count(dump, "fate_open") != 1 || strings.Contains(dump, "fate_ended") {
		t.Errorf("tables:\n%s%v", dump, err)
	}
	must(t, w.same())
}

// Neither filings nor facts: there is nothing to deliver.
func TestDeliver_nothing(t *testing.T) {
	w := newWorld(t, 0)
	b, err := w.m.NewBody(background, nil)
	must(t, err)
	if _, _, err := w.m.Deliver(background, b, mailbox.Delivery{}); !errors.Is(err, mailbox.ErrLimit) {
		t.Errorf("deliver: %v", err)
	}
	b.Abort()
}

func TestStore_refuses(t *testing.T) {
	w := newWorld(t, 0)
	m := w.message("A", 2)
	must(t, w.deliver(m, nil))
	for name, c := range map[string]fate.Change{
		"no message":    {Rcpt: []int{0}},
		"no recipients": {LSN: m.LSN},
		"not ascending": {LSN: m.LSN, Rcpt: []int{1, 1}},
		"negative":      {LSN: m.LSN, Rcpt: []int{-1}},
		"state":         {LSN: m.LSN, Rcpt: []int{1}, Event: fate.Event{State: 99}},
	} {
		if err := w.s.Commit(background, c); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	// Of recipients and messages that are not there nothing is said.
	must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{7}, Event: fate.Event{State: fate.Relayed}},
		fate.Change{LSN: m.LSN + 99, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed}}))
	if got := w.load(t, m.LSN); got.Recipients[0].State != fate.Queued || got.Recipients[1].State != fate.Queued {
		t.Errorf("%+v", got.Recipients)
	}
	if _, err := w.s.Load(background, m.LSN+99); !errors.Is(err, fate.ErrNoSuchMessage) {
		t.Errorf("load: %v", err)
	}
	if _, err := w.s.ByID(background, "B"); !errors.Is(err, fate.ErrNoSuchMessage) {
		t.Errorf("by id: %v", err)
	}
	must(t, w.same())
}

// The first five events and the last twenty are remembered, and texts are cut.
func TestStore_bounds(t *testing.T) {
	w := newWorld(t, 0)
	m := w.message("A", 1)
	must(t, w.deliver(m, nil))
	for i := range 60 {
		must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0}, Attempt: true,
			Event: fate.Event{State: fate.Deferred, Reply: fmt.Sprintf("450 %d %s", i/7, strings.Repeat("ü", fate.ReplyMax)), Reason: fmt.Sprint(i)}}))
	}
	r := w.load(t, m.LSN).Recipients[0]
	if r.Attempts != 60 || len(r.Events) != 25 || r.Events[4].Reason != "4" || r.Events[5].Reason != "40" || r.Last.Reason != "59" {
		t.Errorf("%d attempts, %d events, the last is %+v", r.Attempts, len(r.Events), r.Last)
	}
	for _, e := range r.Events {
		if n := len(e.Reply); n > fate.ReplyMax || n < fate.ReplyMax-4 || !strings.HasPrefix(e.Reply, "450 ") {
			t.Errorf("reply of %d octets", n)
		}
	}
	must(t, w.same())
}

// What does not add up is named.
func TestSums_unaccounted(t *testing.T) {
	w := newWorld(t, 0)
	for _, id := range []string{"A", "B", "C"} {
		must(t, w.deliver(w.message(id, 3), nil))
		w.clock.Advance(time.Minute)
	}
	must(t, w.x.Wait(background, w.j.Durable()))
	must(t, w.x.Update(background, false, func(conn *sqlite.Conn) error {
		return sqlitex.ExecuteScript(conn, "DELETE FROM fate_open WHERE lsn = (SELECT min(lsn) FROM fate_messages) AND place = 1;"+
			"UPDATE fate_messages SET queued = 2 WHERE lsn = (SELECT max(lsn) FROM fate_messages)", nil)
	}))
	sums, err := w.s.Sums(background, fate.Period{})
	if err != nil || fmt.Sprint(sums.Unaccounted) != "[A C]" {
		t.Errorf("unaccounted: %q, %v", sums.Unaccounted, err)
	}
	all, err := w.findings()
	if err != nil || len(all) != 2 {
		t.Errorf("verify found %q, %v", all, err)
	}
}

// A running sum that is wrong is found when its day is counted anew, and a
// message that is counted otherwise than its recipients are when it is loaded.
func TestRecount_finds(t *testing.T) {
	for name, c := range map[string]struct {
		spoil      string
		wrong      int
		miscounted bool
	}{
		"nothing":              {"", 0, false},
		"a running sum":        {"UPDATE fate_days SET relayed = relayed + 1, queued = queued - 1", 1, false},
		"of another account":   {"UPDATE fate_days SET account = 8", 2, false},
		"no running sum":       {"DELETE FROM fate_days", 1, false},
		"no message":           {"DELETE FROM fate_messages WHERE lsn = (SELECT max(lsn) FROM fate_messages)", 1, false},
		"a message's count":    {"UPDATE fate_messages SET bounced = 1, queued = 2", 1, true},
		"a recipient's ending": {"INSERT INTO fate_ended SELECT lsn, place, 9, 0, x'' FROM fate_open; DELETE FROM fate_open", 0, true},
	} {
		w := newWorld(t, 0)
		m := w.message("A", 3)
		must(t, w.deliver(m, nil))
		must(t, w.deliver(w.message("B", 3), nil))
		must(t, w.x.Wait(background, w.j.Durable()))
		must(t, w.x.Update(background, false, func(conn *sqlite.Conn) error { return sqlitex.ExecuteScript(conn, c.spoil, nil) }))
		r, err := w.s.Recount(background, m.Received)
		if err != nil || r.Wrong != c.wrong || !r.Day.Equal(m.Received.Truncate(24*time.Hour)) {
			t.Errorf("%s: %+v, %v; want %d wrong", name, r, err, c.wrong)
		}
		if got, err := w.s.ByID(background, "A"); err != nil || got.Miscounted != c.miscounted {
			t.Errorf("%s: %+v, %v; want miscounted %v", name, got, err, c.miscounted)
		}
		if _, err := w.s.Recount(background, m.Received.Add(24*time.Hour)); !errors.Is(err, fate.ErrNoSuchMessage) {
			t.Errorf("%s: the day after: %v", name, err)
		}
	}
}

// A report of success is owed from the success on until it is made, whatever is
// rebuilt in between: it is neither lost nor made twice.
func TestOwed(t *testing.T) {
	w := newWorld(t, 0)
	owed := func() string {
		all := []fate.Owed{}
		must(t, w.s.Owed(background, func(o fate.Owed) { all = append(all, o) }))
		return fmt.Sprint(all)
	}
	a, b := w.message("A", 3), w.message("B", 1)
	for i := range a.Recipients {
		a.Recipients[i].State = fate.Delivered
	}
	w.also = fate.AppendOwed(nil, fate.Owed{Successes: map[int]fate.Success{0: fate.ToldDelivered, 2: fate.ToldExpanded}})
	must(t, w.deliver(a, nil))
	must(t, w.deliver(b, nil))
	must(t, w.s.Commit(background, fate.Change{LSN: b.LSN, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed}, Owe: fate.ToldRelayed},
		fate.Change{LSN: a.LSN, Rcpt: []int{1}, Event: fate.Event{State: fate.Relayed}, Owe: fate.ToldRelayed})) // has ended before
	both := fmt.Sprintf("[{%v map[0:1 2:3]} {%v map[0:2]}]", a.LSN, b.LSN)
	if got := owed(); got != both {
		t.Errorf("owed are %s, want %s", got, both)
	}
	w.clock.Advance(90 * 24 * time.Hour)
	if n, err := w.s.Purge(background); n != 0 || err != nil || owed() != both {
		t.Errorf("%d books purged, %v; owed are %s", n, err, owed())
	}
	must(t, w.same())
	w.also = fate.AppendTold(nil, fate.Owed{LSN: a.LSN, Successes: map[int]fate.Success{0: fate.ToldDelivered, 2: fate.ToldExpanded}})
	must(t, w.deliver(w.message("report", 1), nil))
	must(t, w.same())
	if got, want := owed(), fmt.Sprintf("[{%v map[0:2]}]", b.LSN); got != want {
		t.Errorf("owed are %s, want %s", got, want)
	}
	if n, err := w.s.Purge(background); n != 1 || err != nil {
		t.Errorf("%d books purged, %v", n, err)
	}
}

// A message of which the facts cannot be read was answered with a 250, and
// nobody knows for whom it is: it is named for as long as that is so.
func TestSums_unreadable(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.m.Provision(background, 1))
	inbox, err := w.m.Lookup(background, 1, "INBOX")
	must(t, err)
	b, err := w.m.NewBody(background, nil)
	must(t, err)
	_, err = io.WriteString(b, text("X"))
	must(t, err)
	lsn, _, err := w.m.Deliver(background, b, mailbox.Delivery{ID: "X", Received: w.clock.Now(),
		Filings: []mailbox.Filing{{Account: 1, Mailbox: inbox.ID}}, Also: journal.AppendField(nil, 0x300, []byte{0x12})})
	must(t, err)
	for range 2 {
		sums, err := w.s.Sums(background, fate.Period{})
		if err != nil || fmt.Sprint(sums.Unaccounted) != fmt.Sprint([]string{fate.RecordName(lsn)}) {
			t.Errorf("unaccounted: %q, %v; want record %s", sums.Unaccounted, err, lsn)
		}
		must(t, w.same())
	}
}

func TestTrace(t *testing.T) {
	w := newWorld(t, 0)
	begin := w.clock.Now()
	for i := range 600 {
		m := w.message(fmt.Sprint("M", i), 1)
		m.Account, m.Received = 0, w.clock.Now().UTC()
		m.Recipients[0].Rcpt = message.Address{Local: fmt.Sprint("Alias", i%300), Domain: "demo.test"}
		m.Recipients[0].Account = 9 * account.ID(1+i%2)
		must(t, w.deliver(m, nil))
		w.clock.Advance(time.Second)
	}
	for name, c := range map[string]struct {
		f    fate.Find
		want string
	}{
		"id":               {fate.Find{ID: "M77"}, "[M77]"},
		"message id":       {fate.Find{MessageID: "M78@demo.test"}, "[M78]"},
		"with brackets":    {fate.Find{MessageID: "<M78@demo.test>"}, "[M78]"},
		"with one bracket": {fate.Find{MessageID: "<M78@demo.test"}, "[M78]"},
		"alias":            {fate.Find{Address: "alias4@DEMO.test"}, "[M304 M4]"},
		"no address":       {fate.Find{Address: "alias4"}, "[]"},
		"sender":           {fate.Find{Address: "<one@demo.test>", Limit: 2}, "[M599 M598]"},
		"period":           {fate.Find{Since: begin.Add(5 * time.Second), Until: begin.Add(8 * time.Second)}, "[M7 M6 M5]"},
		"recipient's":      {fate.Find{Account: 18, Limit: 2}, "[M599 M597]"},
		"all conditions":   {fate.Find{ID: "M4", Address: "alias4@demo.test", Account: 9, Until: begin.Add(time.Minute)}, "[M4]"},
		"one is not so":    {fate.Find{ID: "M4", Address: "alias5@demo.test"}, "[]"},
		"everything":       {fate.Find{Limit: 3}, "[M599 M598 M597]"},
		"id in other case": {fate.Find{ID: "m77"}, "[]"},
	} {
		got := []string{}
		err := w.s.Trace(background, c.f, func(m *fate.Message) error {
			got = append(got, m.ID)
			return nil
		})
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, c.want)
		}
	}
}

// Of the recipients that are not asked for nothing is read.
func TestLoad_ofSome(t *testing.T) {
	w := newWorld(t, 0)
	m := w.message("A", 5)
	must(t, w.deliver(m, nil))
	check := func(when string) {
		t.Helper()
		all := w.load(t, m.LSN)
		some, err := w.s.Load(background, m.LSN, 3, 1)
		must(t, err)
		want := *all
		want.Recipients = []fate.Recipient{{}, all.Recipients[1], {}, all.Recipients[3]}
		if d := cmp.Diff(&want, some, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("%s: %s", when, d)
		}
		if none, err := w.s.Load(background, m.LSN, -1, 5); err != nil || len(none.Recipients) != 0 || none.ID != "A" {
			t.Errorf("%s: of those who are not there: %+v, %v", when, none, err)
		}
	}
	check("just accepted")
	must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0, 1}, Event: fate.Event{State: fate.Relayed}},
		fate.Change{LSN: m.LSN, Rcpt: []int{2, 3}, Attempt: true, Event: fate.Event{State: fate.Deferred, Reply: "450 later"}}))
	check("changed")
	must(t, w.restart(true))
	check("after a start")
}
