package fate_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// compact rewrites all that there is, twice: the second time it is about its
// own State records.
func (w *world) compact(t *testing.T) {
	t.Helper()
	for range 2 {
		must(t, w.restart(false))
		if n, err := w.m.CompactFully(background); n == 0 || err != nil {
			t.Fatalf("%d segments were compacted, %v", n, err)
		}
	}
	must(t, w.same())
}

// body reads a message's body.
func (w *world) body(lsn journal.LSN) (string, error) {
	b, err := w.m.OpenMessage(background, lsn)
	if err != nil {
		return "", err
	}
	defer b.Close()
	got := make([]byte, b.Size())
	_, err = b.ReadAt(got, 0)
	return string(got), err
}

// size is what the journal takes.
func (w *world) size() (n int64) {
	for _, g := range w.j.Segments() {
		n += g.Size
	}
	return n
}

// A body is kept while somebody is to get it, however long that takes, and goes
// after the retention; the books stay, until they are purged.
func TestCompact_bodiesAndBooks(t *testing.T) {
	w := newWorld(t, 0)
	w.retention = 14 * 24 * time.Hour
	must(t, w.restart(false))
	m := w.message("A", 2)
	must(t, w.deliver(m, nil))
	must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed, Reply: "250 taken"}}))
	w.clock.Advance(30 * 24 * time.Hour)
	w.compact(t)
	if got, err := w.body(m.LSN); err != nil || got != text("A") {
		t.Fatalf("the body of an open message: %d octets, %v", len(got), err)
	}
	d := w.message("D", 1)
	d.Recipients[0].State = fate.Delivered
	must(t, w.deliver(d, nil, fate.Change{LSN: m.LSN, Rcpt: []int{1}, Event: fate.Event{At: w.clock.Now(), State: fate.Bounced, DSN: "D"}}))
	w.compact(t)
	if _, err := w.body(m.LSN); err == nil {
		t.Error("the body of an ended message is still there")
	}
	if _, err := w.body(d.LSN); err != nil {
		t.Errorf("the body of a young message: %v", err)
	}
	w.clock.Advance(15 * 24 * time.Hour)
	w.compact(t) // and the record with the change is gone too
	if _, err := w.body(d.LSN); err == nil {
		t.Error("the body of an old message is still there")
	}
	got := w.load(t, m.LSN)
	if a, b := got.Recipients[0], got.Recipients[1]; a.Last.Reply != "250 taken" || b.State != fate.Bounced || b.Last.DSN != "D" {
		t.Errorf("the books say %+v", got.Recipients)
	}
	if n, err := w.s.Purge(background); n != 0 || err != nil {
		t.Errorf("%d books were purged too early, %v", n, err)
	}
	w.clock.Advance(46 * 24 * time.Hour)
	if n, err := w.s.Purge(background); n != 2 || err != nil {
		t.Errorf("%d books were purged, %v", n, err)
	}
	w.compact(t)
	if _, err := w.s.Load(background, m.LSN); !errors.Is(err, fate.ErrNoSuchMessage) {
		t.Errorf("load: %v", err)
	}
}

// Books that were purged do not come back, though the message itself is in a
// mailbox for years and its record says that it was queued.
func TestCompact_purgedForEver(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.m.Provision(background, 1))
	inbox, err := w.m.Lookup(background, 1, "INBOX")
	must(t, err)
	var lsns []journal.LSN
	for i := range 300 {
		m := w.message(fmt.Sprint("A", i), 2)
		must(t, w.deliver(m, []mailbox.Filing{{Account: 1, Mailbox: inbox.ID}}))
		lsns = append(lsns, m.LSN)
		if i%100 != 50 { // three stay open
			must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0, 1}, Event: fate.Event{State: fate.Relayed}}))
		}
	}
	w.clock.Advance(61 * 24 * time.Hour)
	if n, err := w.s.Purge(background); n != 297 || err != nil {
		t.Fatalf("%d books were purged, %v", n, err)
	}
	must(t, w.same())
	w.compact(t)
	if n := len(w.open); n != 6 {
		t.Errorf("%d recipients are open", n)
	}
	must(t, w.s.Commit(background, fate.Change{LSN: lsns[50], Rcpt: []int{0, 1}, Event: fate.Event{State: fate.Discarded}},
		fate.Change{LSN: lsns[51], Rcpt: []int{0, 1}, Event: fate.Event{State: fate.Bounced}})) // too late
	if n, err := w.s.Purge(background); n != 0 || err != nil {
		t.Errorf("%d books were purged too early, %v", n, err)
	}
	w.clock.Advance(61 * 24 * time.Hour)
	w.compact(t)
	if n, err := w.s.Purge(background); n != 1 || err != nil {
		t.Errorf("%d books were purged, %v", n, err)
	}
	w.compact(t)
	sums, err := w.s.Sums(background, fate.Period{})
	if want := (fate.Tally{Messages: 2, Accepted: 4, Queued: 4}); err != nil || sums.Tally != want || len(sums.Unaccounted) > 0 {
		t.Errorf("sums are %+v, %v", sums, err)
	}
}

// A message with more recipients and events than fit into one State envelope.
func TestCompact_large(t *testing.T) {
	w := newWorld(t, 0)
	m := w.message("A", 2_000)
	var all []int
	for i := range m.Recipients {
		all = append(all, i)
	}
	must(t, w.deliver(m, nil))
	for i := range 7 {
		must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: all, Attempt: true,
			Event: fate.Event{State: fate.Deferred, Reply: strings.Repeat(fmt.Sprint(i), fate.ReplyMax)}}))
	}
	must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: all[100:], Event: fate.Event{State: fate.Relayed}}))
	w.compact(t)
	got := w.load(t, m.LSN)
	for i, r := range got.Recipients {
		if r.Attempts != 7 || (r.State == fate.Relayed) != (i >= 100) || r.Events[5].Reply != strings.Repeat("5", fate.ReplyMax) {
			t.Fatalf("recipient %d: %+v", i, r)
		}
	}
}

// What a newer program has written stays, and stops nothing.
func TestApply_newer(t *testing.T) {
	w := newWorld(t, 0)
	b := journal.AppendString(nil, 0x3fe, "a fact of a newer program")
	b, err := fate.AppendChange(b, &fate.Change{LSN: 1 << 41, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed}})
	must(t, err)
	_, err = w.x.Commit(background, &journal.Entry{Type: journal.TypeBatch, Envelope: b})
	must(t, err)
	w.compact(t)
	found := false
	must(t, w.restartReading(func(r journal.Record) { found = found || bytes.Equal(r.Envelope, b) }))
	if !found {
		t.Error("the record is gone")
	}
}

// restartReading shows fn all records on the way.
func (w *world) restartReading(fn func(journal.Record)) error {
	if err := w.stop(); err != nil {
		return err
	}
	j, err := journal.Open(journal.Options{Dir: "/journal", FS: w.disk, Clock: w.clock, ReserveBytes: -1})
	if err != nil {
		return err
	}
	err = j.Replay(background, 0, func(r journal.Record) error {
		fn(r)
		return nil
	})
	return errors.Join(err, j.Close(), w.start())
}

// Facts that cannot be read stop neither the filing in the same record nor
// other messages, and compaction keeps them.
func TestApply_unreadable(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.m.Provision(background, 1))
	inbox, err := w.m.Lookup(background, 1, "INBOX")
	must(t, err)
	body, err := w.m.NewBody(background, nil)
	must(t, err)
	_, err = body.Write([]byte(text("A")))
	must(t, err)
	also := journal.AppendString(nil, 0x300, "\x04\x01")
	_, _, err = w.m.Deliver(background, body, mailbox.Delivery{ID: "A", Filings: []mailbox.Filing{{Account: 1, Mailbox: inbox.ID}}, Also: also})
	must(t, err)
	_, err = w.x.Commit(background, &journal.Entry{Type: journal.TypeBatch, Envelope: journal.AppendString(nil, 0x301, "\x21\x01")})
	if err == nil {
		t.Error("a change that cannot be read was applied")
	}
	m := w.message("B", 1)
	must(t, w.deliver(m, nil))
	must(t, w.restart(true))
	if _, err := w.m.CompactFully(background); err != nil {
		t.Error(err)
	}
	must(t, w.restart(true))
	w.load(t, m.LSN)
	if st, err := w.m.GetStatus(background, inbox.ID); err != nil || st.Messages != 1 {
		t.Errorf("INBOX: %+v, %v", st, err)
	}
	all, err := w.findings()
	if err != nil || len(all) != 1 || !strings.Contains(all[0], "could not be applied") {
		t.Errorf("verify found %q, %v", all, err)
	}
}

// A relay's journal stays small: books take little of what bodies took.
func TestCompact_relayStaysSmall(t *testing.T) {
	w := newWorld(t, 1<<20)
	for i := range 3_000 {
		m := w.message(fmt.Sprint("A", i), 1)
		must(t, w.deliver(m, nil))
		must(t, w.s.Commit(background, fate.Change{LSN: m.LSN, Rcpt: []int{0}, Attempt: true,
			Event: fate.Event{State: fate.Relayed, Via: "mx.example.org [192.0.2.1]:25", TLS: "none offered", Reply: "250 2.0.0 Ok: queued as 12345"}}))
	}
	must(t, w.restart(false))
	before := w.size()
	w.clock.Advance(15 * 24 * time.Hour)
	n, err := w.m.Compact(background)
	must(t, err)
	must(t, w.restart(false))
	if after := w.size(); n == 0 || after > before/2 {
		t.Errorf("%d segments were compacted, from %d to %d octets", n, before, after)
	}
	w.clock.Advance(61 * 24 * time.Hour)
	if n, err := w.s.Purge(background); n != 3_000 || err != nil {
		t.Errorf("%d books were purged, %v", n, err)
	}
	w.compact(t)
	if after := w.size(); after > before/20 {
		t.Errorf("%d of %d octets are left when all is over", after, before)
	}
}

// What a rebuilt index drops again was dropped before the start: to whoever
// counts what was booked since, it is neither there nor gone.
func TestPurge_countsWhatItDropsNow(t *testing.T) {
	w := newWorld(t, 1<<20)
	deliver := func(id string) {
		m := w.message(id, 1)
		m.Recipients[0].State = fate.Delivered
		must(t, w.deliver(m, nil))
	}
	dropped := func(want int64) {
		t.Helper()
		if s, err := w.s.Sums(background, fate.Period{}); err != nil || s.Dropped != want || s.Messages != 1 {
			t.Errorf("%d dropped, %d left, %v; want %d dropped and one left", s.Dropped, s.Messages, err, want)
		}
	}
	deliver("old")
	w.clock.Advance(90 * 24 * time.Hour)
	deliver("young")
	if n, err := w.s.Purge(background); n != 1 || err != nil {
		t.Fatalf("%d dropped, %v", n, err)
	}
	dropped(1)
	must(t, w.restart(true))
	dropped(0)
	w.clock.Advance(90 * 24 * time.Hour)
	deliver("younger")
	if n, err := w.s.Purge(background); n != 1 || err != nil {
		t.Fatalf("%d dropped, %v", n, err)
	}
	dropped(1)
}
