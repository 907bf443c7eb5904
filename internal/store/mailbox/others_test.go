package mailbox_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

// Accounts share the journal. A compaction either has them say their state, or
// keeps their records: in both cases they are the same afterwards.
func TestCompact_keepsAccounts(t *testing.T) {
	for _, answering := range []bool{true, false} {
		disk, path := sim.NewDisk(1), filepath.Join(t.TempDir(), "index.db")
		clock := sim.NewClock(time.Unix(1.7e9, 0))
		var w world
		var accounts *account.Store
		open := func() {
			t.Helper()
			var err error
			w.j, err = journal.Open(journal.Options{Dir: "/journal", FS: disk, Clock: clock, ReserveBytes: -1})
			must(t, err)
			accounts = account.New(account.Options{Clock: clock})
			o := mailbox.Options{Clock: clock, Retention: -1}
			if answering {
				o.Others = []mailbox.Other{accounts}
			}
			w.s = mailbox.New(o, w.j)
			w.x, err = index.Open(background, index.Options{Path: path}, w.j, accounts, w.s)
			must(t, err)
			must(t, errors.Join(accounts.Attach(w.x), w.s.Attach(w.x)))
		}
		open()
		must(t, accounts.AddDomain(background, "demo.test"))
		a, err := accounts.AddAccount(background, message.Address{Local: "one", Domain: "demo.test"}, "secret", account.Settings{Admin: true, QuotaBytes: 77})
		must(t, err)
		must(t, w.s.Provision(background, a.ID))
		must(t, w.close())
		for range 3 { // the second time it is about its own State records
			open()
			n, err := w.s.CompactFully(background)
			must(t, err)
			if n == 0 {
				t.Fatal("nothing was compacted")
			}
			must(t, w.close())
			must(t, index.Remove(path))
			open()
			got, err := accounts.Get(background, a.Address)
			if err != nil || got != a {
				t.Errorf("answering %v: account is %+v, %v; it was %+v", answering, got, err, a)
			}
			if _, err := accounts.Login(background, "one@demo.test", "secret"); err != nil {
				t.Errorf("answering %v: login: %v", answering, err)
			}
			if all := w.findings(t); len(all) > 0 {
				t.Errorf("answering %v: verify found %v", answering, all)
			}
			must(t, w.close())
		}
	}
}

// other is a view that needs some bodies, and says one word for each record
// that goes.
type other struct {
	holds   map[journal.LSN]bool
	dropped []journal.LSN
	states  int
	refuses error
}

func (o *other) Owns(tag uint64) bool { return tag == 0x3f0 }

func (o *other) Holds(_ *sqliteConn, m journal.LSN) (bool, error) { return o.holds[m], nil }

func (o *other) Notes(*sqliteConn) (mailbox.Notes, error) { return o, nil }

func (o *other) Drop(r journal.Record) error {
	if o.refuses == nil {
		o.dropped = append(o.dropped, r.LSN)
	}
	return o.refuses
}

func (o *other) States(_ *sqliteConn, write func([]byte) error) error {
	for range o.dropped {
		if err := write(journal.AppendString(nil, 0x3f0, "word")); err != nil {
			return err
		}
		o.states++
	}
	return nil
}

// deliverAlso stores a message that no mailbox has, with a fact of a view.
func (w *world) deliverAlso(t *testing.T, tag uint64) journal.LSN {
	t.Helper()
	lsn, fs, err := w.s.Deliver(background, w.body(t, text("alpha")), mailbox.Delivery{ID: "A", Received: w.clock.Now(), Also: journal.AppendString(nil, tag, "fact")})
	must(t, err)
	if len(fs) != 0 {
		t.Errorf("%d filings", len(fs))
	}
	return lsn
}

// A message that no mailbox has lives as long as another view holds it, and
// for the retention; what that view has said in its record it says anew.
func TestOther_holds(t *testing.T) {
	w := newWorld(t)
	o := &other{holds: make(map[journal.LSN]bool)}
	w.options.Others = []mailbox.Other{o}
	must(t, w.Restart(mailboxtest.Keep))
	lsn := w.deliverAlso(t, 0x3f0)
	o.holds[lsn] = true
	compact := func(there bool) {
		t.Helper()
		must(t, w.Restart(mailboxtest.Keep))
		_, err := w.s.CompactFully(background)
		must(t, err)
		must(t, w.Restart(mailboxtest.Lose))
		got, err := w.read(lsn)
		if there && got != text("alpha") || !there && !errors.Is(err, mailbox.ErrNoSuchMessage) {
			t.Errorf("the message is %q, %v", got, err)
		}
		if all := w.findings(t); len(all) > 0 {
			t.Errorf("verify found %v", all)
		}
	}
	compact(true)
	w.clock.Advance(30 * 24 * time.Hour)
	compact(true)
	o.holds[lsn] = false
	o.refuses = errors.New("not now")
	compact(true)
	if len(o.dropped) != 0 || o.states != 0 {
		t.Errorf("dropped %v, %d states", o.dropped, o.states)
	}
	o.refuses = nil
	compact(false)
	if len(o.dropped) != 1 || o.dropped[0] != lsn || o.states != 1 {
		t.Errorf("dropped %v, %d states", o.dropped, o.states)
	}
}

// Facts that nobody answers for keep their record for ever, in Batch records
// whatever their tag is; and a segment is not rewritten again and again for it.
func TestOther_nobodys(t *testing.T) {
	w := newWorld(t)
	w.options.Retention = -1
	must(t, w.Restart(mailboxtest.Keep))
	lsn := w.deliverAlso(t, 0x3f0)
	low := journal.AppendString(nil, 0x42, "of a newer program")
	batch, err := w.x.Accept(background, &journal.Entry{Type: journal.TypeBatch, Envelope: low})
	must(t, err)
	for i := range 3 {
		must(t, w.Restart(mailboxtest.Keep))
		_, err := w.s.CompactFully(background)
		must(t, err)
		if got, err := w.read(lsn); err != nil || got != text("alpha") {
			t.Errorf("round %d: the message is %q, %v", i, got, err)
		}
	}
	must(t, w.Restart(mailboxtest.Keep))
	if n, err := w.s.Compact(background); n != 0 || err != nil {
		t.Errorf("%d segments were compacted again, %v", n, err)
	}
	must(t, w.close())
	found := false
	j, err := journal.Open(journal.Options{Dir: "/journal", FS: w.disk, Clock: w.clock, ReserveBytes: -1})
	must(t, err)
	must(t, j.Replay(background, 0, func(r journal.Record) error {
		found = found || r.LSN == batch.LSN
		return nil
	}))
	must(t, j.Close())
	if !found {
		t.Error("the batch is gone")
	}
	must(t, w.open())
}
