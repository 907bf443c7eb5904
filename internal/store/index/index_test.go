package index

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// words is a view that keeps every word that was ever recorded.
type words struct {
	mu        sync.Mutex
	committed []string
	prepared  int
	gathered  []string // since the last Flush
	bad       string   // a word that cannot be applied
	panics    string   // one that makes Apply panic
}

func (w *words) Schema() string {
	return "CREATE TABLE words (lsn INTEGER PRIMARY KEY, word TEXT NOT NULL); CREATE TABLE last (id INTEGER PRIMARY KEY, word TEXT NOT NULL);"
}

func (w *words) Apply(conn *sqlite.Conn, r journal.Record) (any, error) {
	word := string(r.Envelope)
	switch word {
	case "":
		return nil, nil
	case w.bad:
		return nil, errors.New("bad word")
	case w.panics:
		panic("terrible word")
	}
	w.gathered = append(w.gathered, word)
	return "did " + word, sqlitex.Execute(conn, "INSERT INTO words (lsn, word) VALUES (?, ?)",
		&sqlitex.ExecOptions{Args: []any{int64(r.LSN), word}})
}

func (w *words) Flush(conn *sqlite.Conn) error {
	for _, word := range w.gathered {
		if err := sqlitex.Execute(conn, "INSERT OR REPLACE INTO last (id, word) VALUES (1, ?)",
			&sqlitex.ExecOptions{Args: []any{word}}); err != nil {
			return err
		}
	}
	w.gathered = nil
	return nil
}

func (w *words) Rollback() { w.gathered = nil }

func (w *words) Prepare(context.Context, journal.Record) any {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.prepared++
	return "prepared"
}

func (w *words) Committed(rs []Applied) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range rs {
		w.committed = append(w.committed, string(r.Record.Envelope))
	}
}

func (w *words) seen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.committed, " ")
}

// bench is an index over a journal on a simulated disk.
type bench struct {
	t    *testing.T
	disk *sim.Disk
	path string
	j    *journal.Journal
	x    *Index
	w    *words
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, disk: sim.NewDisk(1), path: filepath.Join(t.TempDir(), "index.db"), w: new(words)}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.j, err = journal.Open(journal.Options{Dir: "/j", FS: b.disk}); err != nil {
		b.t.Fatal(err)
	}
	if b.x, err = Open(b.t.Context(), Options{Path: b.path}, b.j, b.w); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	if b.x != nil {
		if err := errors.Join(b.x.Close(), b.j.Close()); err != nil {
			b.t.Error(err)
		}
	}
	b.x = nil
}

func (b *bench) reopen() { b.t.Helper(); b.close(); b.open() }

func (b *bench) accept(word string) journal.Record {
	b.t.Helper()
	r, err := b.x.Accept(b.t.Context(), &journal.Entry{Type: journal.TypeBatch, Envelope: []byte(word)})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// read returns all words, in order, as the tables have them.
func (b *bench) read() string {
	b.t.Helper()
	var all []string
	err := b.x.Read(context.Background(), func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT word FROM words ORDER BY lsn", &sqlitex.ExecOptions{
			ResultFunc: func(s *sqlite.Stmt) error { all = append(all, s.ColumnText(0)); return nil }})
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func (b *bench) want(words string) {
	b.t.Helper()
	if got := b.read(); got != words {
		b.t.Fatalf("index has %q, want %q", got, words)
	}
}

func TestReadSeesAllThatWasAccepted(t *testing.T) {
	b := newBench(t)
	want := ""
	for _, w := range strings.Fields("no one reads less than was acknowledged before they asked") {
		b.accept(w)
		want = strings.TrimSpace(want + " " + w)
		b.want(want)
	}
	if got := b.w.seen(); got != want {
		t.Errorf("Committed was told %q", got)
	}
}

func TestCommitGivesTheViewsResult(t *testing.T) {
	b := newBench(t)
	res, err := b.x.Commit(t.Context(), &journal.Entry{Type: journal.TypeBatch, Envelope: []byte("hop")})
	if err != nil || res != "did hop" {
		t.Fatalf("Commit gave %v, %v", res, err)
	}
	refused := errors.New("not this one")
	_, err = b.x.Commit(t.Context(), &journal.Entry{Type: journal.TypeBatch, Stamp: func(journal.LSN) ([]byte, error) { return nil, refused }})
	if !errors.Is(err, refused) {
		t.Fatalf("Commit of a refused entry gave %v", err)
	}
}

func TestCommitIsInOneTransactionWithItsNeighbours(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := b.x.Commit(t.Context(), &journal.Entry{Type: journal.TypeBatch, Envelope: []byte("w")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(strings.Fields(b.read())); n != 200 {
		t.Errorf("%d of 200 commits are in the index", n)
	}
	if a, d := b.x.Applied(), b.j.Durable(); a != d {
		t.Errorf("applied %s, durable %s", a, d)
	}
}

func TestReopenKeepsOrReplays(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, b *bench){
		"kept":    func(*testing.T, *bench) {},
		"deleted": func(t *testing.T, b *bench) { must(t, Remove(b.path)) },
		"garbage": func(t *testing.T, b *bench) { must(t, os.WriteFile(b.path, []byte("this is no database"), 0o600)) },
		"cut":     func(t *testing.T, b *bench) { must(t, os.Truncate(b.path, 5000)) },
		"deleted without its WAL": func(t *testing.T, b *bench) {
			must(t, os.Rename(b.path+".stale", b.path+"-wal"))
			must(t, os.Remove(b.path))
		},
		"marked": func(t *testing.T, b *bench) { must(t, os.WriteFile(b.path+damagedSuffix, nil, 0o600)) },
		"of another version": func(t *testing.T, b *bench) {
			conn, err := sqlite.OpenConn(b.path)
			must(t, err)
			must(t, setFact(conn, "schema", "0.1"))
			must(t, conn.Close())
		},
		"of another store": func(t *testing.T, b *bench) {
			conn, err := sqlite.OpenConn(b.path)
			must(t, err)
			must(t, setFact(conn, "store", "somebody else's"))
			must(t, conn.Close())
		},
		"ahead": func(t *testing.T, b *bench) {
			conn, err := sqlite.OpenConn(b.path)
			must(t, err)
			must(t, setApplied(conn, 1<<60))
			must(t, conn.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, w := range []string{"one", "two", "three"} {
				b.accept(w)
			}
			b.want("one two three")
			wal, err := os.ReadFile(b.path + "-wal")
			must(t, err)
			must(t, os.WriteFile(b.path+".stale", wal, 0o600))
			b.close()
			between(t, b)
			b.open()
			b.want("one two three")
			b.accept("four")
			b.want("one two three four")
			b.reopen()
			b.want("one two three four")
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOlderIndexIsCaughtUp(t *testing.T) {
	b := newBench(t)
	b.accept("one")
	b.reopen() // the database is whole in its file now
	b.close()
	old, err := os.ReadFile(b.path)
	must(t, err)
	b.open()
	b.accept("two")
	b.accept("three")
	b.close()
	must(t, Remove(b.path))
	must(t, os.WriteFile(b.path, old, 0o600))
	b.w.prepared = 0
	b.open()
	b.want("one two three")
	if b.w.prepared != 2 {
		t.Errorf("%d records were prepared, want the 2 that were missing", b.w.prepared)
	}
}

func TestRecordThatCannotBeAppliedIsSetAside(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		t.Run(how, func(t *testing.T) {
			b := newBench(t)
			if how == "error" {
				b.w.bad = "two"
			} else {
				b.w.panics = "two"
			}
			b.accept("one")
			bad := b.accept("two")
			b.accept("three")
			b.want("one three")
			_, err := b.x.Commit(t.Context(), &journal.Entry{Type: journal.TypeBatch, Envelope: []byte("two")})
			if !errors.Is(err, ErrSetAside) {
				t.Errorf("Commit gave %v", err)
			}
			aside, err := b.x.SetAsides(t.Context())
			if err != nil || len(aside) != 2 || aside[0].LSN != bad.LSN || aside[0].Position != bad.Pos || aside[0].Reason == "" {
				t.Errorf("set aside: %+v, %v", aside, err)
			}
			b.close()
			must(t, Remove(b.path))
			b.open()
			b.want("one three") // the rebuild sets it aside as well
		})
	}
}

// State records say what the tables have long had: they are applied only where
// a replay comes by.
func TestStateRecordsAreForReplay(t *testing.T) {
	b := newBench(t)
	first := b.accept("one")
	b.accept("two")
	_, err := b.x.Commit(t.Context(), &journal.Entry{Type: journal.TypeState, AsOf: first.LSN, Envelope: []byte("state")})
	must(t, err)
	b.want("one two")
	b.close()
	must(t, Remove(b.path))
	b.open()
	b.want("one two state") // by its own LSN; it was applied after "one"
	if last := b.readLast(); last != "two" {
		t.Errorf("the last word applied was %q", last)
	}
	if a, d := b.x.Applied(), b.j.Durable(); a != d {
		t.Errorf("applied %s, durable %s", a, d)
	}
	b.reopen()
	b.want("one two state")
}

func (b *bench) readLast() (word string) {
	err := b.x.Read(context.Background(), func(conn *sqlite.Conn) (err error) {
		word, err = sqlitex.ResultText(conn.Prep("SELECT word FROM last"))
		return err
	})
	must(b.t, err)
	return word
}

func TestUpdateIsATransaction(t *testing.T) {
	b := newBench(t)
	add := func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "INSERT INTO words (lsn, word) VALUES (77, 'extra')", nil)
	}
	failed := errors.New("second thoughts")
	err := b.x.Update(t.Context(), true, func(conn *sqlite.Conn) error { return errors.Join(add(conn), failed) })
	if !errors.Is(err, failed) {
		t.Fatalf("Update gave %v", err)
	}
	b.want("")
	must(t, b.x.Update(t.Context(), true, add))
	b.want("extra")
}

func TestWaitEndsWithItsContextAndWithClose(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.x.Wait(ctx, 1<<62); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait gave %v", err)
	}
	done := make(chan error)
	go func() { done <- b.x.Wait(t.Context(), 1<<62) }()
	b.x.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Wait gave %v", err)
	}
	if _, err := b.x.Commit(t.Context(), &journal.Entry{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit gave %v", err)
	}
	if err := b.x.Update(t.Context(), false, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Update gave %v", err)
	}
	if err := b.x.View(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("View gave %v", err)
	}
}

// A read that is interrupted says that it was its caller's wish.
func TestViewEndsWithItsContext(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := b.x.View(ctx, func(conn *sqlite.Conn) error {
		cancel()
		return sqlitex.Execute(conn, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", nil)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("View gave %v", err)
	}
}

// What people wrote to each other is in the index: nobody else may read it.
func TestFilesArePrivate(t *testing.T) {
	b := newBench(t)
	b.accept("one")
	b.want("one")
	for _, s := range []string{"", "-wal", "-shm"} {
		i, err := os.Stat(b.path + s)
		if err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("index.db%s: %v, %v", s, i.Mode(), err)
		}
	}
}

func TestInMemory(t *testing.T) {
	disk := sim.NewDisk(1)
	j, err := journal.Open(journal.Options{Dir: "/j", FS: disk})
	must(t, err)
	x, err := Open(t.Context(), Options{}, j, new(words))
	must(t, err)
	b := &bench{t: t, j: j, x: x}
	defer b.close()
	b.accept("one")
	b.want("one")
}

// A record that nobody waits for is applied soon all the same.
func TestLingerEnds(t *testing.T) {
	clock := sim.NewClock(time.Unix(1e9, 0))
	b := &bench{t: t, disk: sim.NewDisk(1), w: new(words)}
	var err error
	b.j, err = journal.Open(journal.Options{Dir: "/j", FS: b.disk})
	must(t, err)
	b.x, err = Open(t.Context(), Options{Clock: clock}, b.j, b.w)
	must(t, err)
	defer b.close()
	rec := b.accept("one")
	for b.x.Applied() < rec.LSN {
		clock.Advance(batchLinger)
	}
	if got := b.w.seen(); got != "one" {
		t.Errorf("Committed was told %q", got)
	}
}
