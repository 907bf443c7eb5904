package fate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

var background = context.Background()

// place is a recipient.
type place struct {
	lsn journal.LSN
	n   int
}

// world is a store with mailboxes and fates, on a simulated disk, its index in
// a file, or in memory where path is empty.
type world struct {
	disk      sys.FS
	path      string
	clock     *sim.Clock
	segment   int64
	retention time.Duration
	keep      time.Duration
	also      []byte // goes with the next message

	j *journal.Journal
	x *index.Index
	m *mailbox.Store
	s *fate.Store

	mu   sync.Mutex
	open map[place]fate.Open // guarded by mu: what a queue would know
}

func (w *world) start() error {
	var err error
	w.j, err = journal.Open(journal.Options{Dir: "/journal", FS: w.disk, Clock: w.clock, SegmentBytes: w.segment, ReserveBytes: -1})
	if err != nil {
		return err
	}
	w.s = fate.New(fate.Options{Clock: w.clock, Keep: w.keep})
	w.s.OnUpdate(w.update)
	w.m = mailbox.New(mailbox.Options{Clock: w.clock, Retention: w.retention, Others: []mailbox.Other{w.s}}, w.j)
	w.x, err = index.Open(background, index.Options{Path: w.path}, w.j, w.m, w.s)
	if err != nil {
		return errors.Join(err, w.j.Close())
	}
	if err := errors.Join(w.m.Attach(w.x), w.s.Attach(w.x)); err != nil {
		return errors.Join(err, w.stop())
	}
	w.mu.Lock()
	w.open = make(map[place]fate.Open)
	w.mu.Unlock()
	return w.s.Open(background, func(o fate.Open) error {
		w.update([]fate.Update{{Open: o}})
		return nil
	})
}

// update is what a queue does with what it is told.
func (w *world) update(us []fate.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range us {
		if p := (place{u.LSN, u.Rcpt}); u.State.Ended() {
			delete(w.open, p)
		} else if w.open != nil {
			w.open[p] = u.Open
		}
	}
}

func (w *world) stop() error { return errors.Join(w.x.Close(), w.j.Close()) }

// restart begins again, with an index made anew if lose is set.
func (w *world) restart(lose bool) error {
	if err := w.stop(); err != nil {
		return err
	}
	if lose && w.path != "" {
		if err := index.Remove(w.path); err != nil {
			return err
		}
	}
	return w.start()
}

// newWorld opens a store for one test.
func newWorld(t *testing.T, segment int64) *world {
	t.Helper()
	w := &world{disk: sim.NewDisk(1), path: filepath.Join(t.TempDir(), "index.db"), clock: sim.NewClock(time.Unix(1.7e9, 0)), segment: segment}
	must(t, w.start())
	t.Cleanup(func() {
		if err := w.stop(); err != nil && !errors.Is(err, journal.ErrFailed) {
			t.Error(err)
		}
	})
	return w
}

// deliver stores a message with its facts and perhaps changes of others.
func (w *world) deliver(m *fate.Message, filings []mailbox.Filing, cs ...fate.Change) error {
	b, err := w.m.NewBody(background, nil)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(b, text(m.ID)); err != nil {
		b.Abort()
		return err
	}
	also := fate.AppendAccepted(nil, m)
	for i := range cs {
		if also, err = fate.AppendChange(also, &cs[i]); err != nil {
			b.Abort()
			return err
		}
	}
	also, w.also = append(also, w.also...), nil
	m.LSN, _, err = w.m.Deliver(background, b, mailbox.Delivery{ID: m.ID, From: m.From, Received: m.Received, Filings: filings, Also: also})
	if err != nil {
		b.Abort()
	}
	return err
}

func text(id string) string {
	return "Subject: " + id + "\r\n\r\n" + strings.Repeat("A line of the body.\r\n", 20)
}

// message makes one for remote recipients.
func (w *world) message(id string, recipients int) *fate.Message {
	m := &fate.Message{ID: id, Source: fate.Submitted, Account: 7, Received: w.clock.Now().UTC(), Size: int64(len(text(id))),
		MessageID: "<" + id + "@demo.test>", From: message.Address{Local: "one", Domain: "demo.test"}}
	for i := range recipients {
		m.Recipients = append(m.Recipients, fate.Recipient{
			Address:  message.Address{Local: fmt.Sprint("r", i), Domain: "example.org"},
			Standing: fate.Standing{State: fate.Queued},
		})
	}
	return m
}

// findings are what verify finds.
func (w *world) findings() (all []string, err error) {
	err = w.m.Verify(background, "", func(f mailbox.Finding) { all = append(all, f.String()) })
	return all, err
}

// dump is what fate's tables hold.
func (w *world) dump() (string, error) {
	var b strings.Builder
	err := w.x.Read(background, func(conn *sqlite.Conn) error {
		for _, table := range []string{"fate_messages", "fate_open", "fate_ended", "fate_days", "fate_owed", "fate_unread", "fate_names", "fate_purged"} {
			st, _, err := conn.PrepareTransient("SELECT * FROM " + table + " ORDER BY 1")
			if err != nil {
				return err
			}
			for {
				ok, err := st.Step()
				if err != nil {
					return errors.Join(err, st.Finalize())
				}
				if !ok {
					break
				}
				b.WriteString(table)
				for i := range st.ColumnCount() {
					v := make([]byte, st.ColumnLen(i))
					st.ColumnBytes(i, v)
					fmt.Fprintf(&b, " %q", v)
				}
				b.WriteByte('\n')
			}
			if err := st.Finalize(); err != nil {
				return err
			}
		}
		return nil
	})
	return b.String(), err
}

// same checks that a rebuilt index has the same tables, and that verify finds
// nothing.
func (w *world) same() error {
	live, err := w.dump()
	if err != nil {
		return err
	}
	if all, err := w.findings(); err != nil || len(all) > 0 {
		return fmt.Errorf("verify found %q, %w", all, err)
	}
	if err := w.restart(true); err != nil {
		return err
	}
	fresh, err := w.dump()
	if err == nil && live != fresh {
		err = fmt.Errorf("the index was\n%s\nand is rebuilt to\n%s", live, fresh)
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
