package mailbox_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

// world is a mailbox store on a simulated disk, with its index in a real file,
// or in memory where path is empty.
type world struct {
	disk    sys.FS
	path    string
	clock   *sim.Clock
	segment int64
	options mailbox.Options

	j *journal.Journal
	x *index.Index
	s *mailbox.Store
}

func (w *world) open() error {
	var err error
	w.j, err = journal.Open(journal.Options{Dir: "/journal", FS: w.disk, Clock: w.clock, SegmentBytes: w.segment, ReserveBytes: -1})
	if err != nil {
		return err
	}
	w.options.Clock = w.clock
	w.s = mailbox.New(w.options, w.j)
	w.x, err = index.Open(context.Background(), index.Options{Path: w.path}, w.j, w.s)
	if err != nil {
		return errors.Join(err, w.j.Close())
	}
	if err := w.s.Attach(w.x); err != nil {
		return errors.Join(err, w.close())
	}
	return nil
}

func (w *world) close() error { return errors.Join(w.x.Close(), w.j.Close()) }

// Store implements mailboxtest.Subject.
func (w *world) Store() *mailbox.Store { return w.s }

// Save implements mailboxtest.Subject.
func (w *world) Save() error {
	if w.path == "" {
		return nil
	}
	if err := w.Restart(mailboxtest.Keep); err != nil { // puts the WAL into the file
		return err
	}
	return copyFile(w.path, w.path+".saved")
}

// Restart implements mailboxtest.Subject.
func (w *world) Restart(how mailboxtest.Restart) error {
	if err := w.close(); err != nil {
		return err
	}
	if w.path != "" && how != mailboxtest.Keep {
		old := how == mailboxtest.Older
		if _, err := os.Stat(w.path + ".saved"); old && errors.Is(err, fs.ErrNotExist) {
			return w.open()
		}
		if err := index.Remove(w.path); err != nil {
			return err
		}
		if old {
			if err := copyFile(w.path+".saved", w.path); err != nil {
				return err
			}
		}
	}
	w.clock.Advance(time.Hour)
	return w.open()
}

// Compact implements mailboxtest.Subject.
func (w *world) Compact() error {
	w.clock.Advance(24 * time.Hour)
	_, err := w.s.CompactFully(context.Background())
	return err
}

// Verify implements mailboxtest.Subject.
func (w *world) Verify() (wrong []string, err error) {
	err = w.s.Verify(context.Background(), "", func(f mailbox.Finding) { wrong = append(wrong, f.String()) })
	return wrong, err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// newWorld opens a store for one test.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{disk: sim.NewDisk(1), path: filepath.Join(t.TempDir(), "index.db"), clock: sim.NewClock(time.Unix(1.7e9, 0))}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil && !errors.Is(err, journal.ErrFailed) {
			t.Error(err)
		}
	})
	return w
}

// body makes a message.
func (w *world) body(t testing.TB, text string) *mailbox.Body {
	t.Helper()
	b, err := w.s.NewBody(context.Background(), nil)
	must(t, err)
	_, err = io.Copy(b, strings.NewReader(text))
	must(t, err)
	return b
}

// inbox gives account 1 its mailboxes and returns INBOX.
func (w *world) inbox(t testing.TB) mailbox.Info {
	t.Helper()
	must(t, w.s.Provision(context.Background(), 1))
	info, err := w.s.Lookup(context.Background(), 1, "INBOX")
	must(t, err)
	return info
}

// append puts one message into a mailbox.
func (w *world) append(t testing.TB, id mailbox.ID, text string, flags ...string) mailbox.UID {
	t.Helper()
	uids, _, err := w.s.Append(context.Background(), id, []mailbox.AppendMessage{{Body: w.body(t, text), Flags: flags}})
	must(t, err)
	return uids[0]
}

// sqliteConn is what index.Update gives.
type sqliteConn = sqlite.Conn

func execute(conn *sqliteConn, query string) error { return sqlitex.Execute(conn, query, nil) }

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
