package fulltext

import (
	"errors"
	"fmt"
	"io/fs"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// version is the file's user_version. It is raised when the tables change, or
// the folding, or how trigrams become grams, or what Text gives.
const version = 1

// schema: grams has a row a message, whose rowid is its LSN; blocks has the
// bits of package type block, as little-endian words.
const schema = `
CREATE VIRTUAL TABLE grams USING fts5(terms, content='', contentless_delete=1, detail=none, tokenize='ascii');
CREATE TABLE blocks (block INTEGER PRIMARY KEY, indexed BLOB NOT NULL, passed BLOB NOT NULL);
CREATE TABLE store (name TEXT NOT NULL);
`

// errUnusable says that a file cannot be gone on with.
var errUnusable = errors.New("fulltext.db cannot be used")

// openDatabase opens the worker's connection and reads what is known. db is
// held for writing, or nobody else has x yet.
func (x *Index) openDatabase() error {
	err := x.tryDatabase()
	if !errors.Is(err, errUnusable) {
		return err
	}
	x.o.Log.Warn("text index is begun anew", telemetry.Path, x.o.Path, telemetry.Reason, err.Error())
	if err := x.moveAway(); err != nil {
		return err
	}
	return x.tryDatabase()
}

func (x *Index) tryDatabase() error {
	conn, err := sqlite.OpenConn(x.o.Path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		return unusable("open", err)
	}
	k, err := x.setUp(conn)
	if err != nil {
		conn.Close()
		return err
	}
	x.conn = conn
	x.mu.Lock()
	x.known, x.damaged = k, false
	x.mu.Unlock()
	return nil
}

func (x *Index) setUp(conn *sqlite.Conn) (known, error) {
	err := pragmas(conn, "synchronous=NORMAL", fmt.Sprintf("cache_size=-%d", workerCacheKB),
		"journal_size_limit=8388608", "temp_store=MEMORY")
	if err != nil {
		return nil, unusable("prepare", err)
	}
	tables, err := sqlitex.ResultInt64(conn.Prep("SELECT count(*) FROM sqlite_schema"))
	if err != nil {
		return nil, unusable("read", err)
	}
	if tables == 0 {
		if err := x.create(conn); err != nil {
			return nil, unusable("create", err)
		}
	}
	have, err := sqlitex.ResultInt64(conn.Prep("SELECT user_version FROM pragma_user_version"))
	if err != nil {
		return nil, unusable("read", err)
	}
	if have != version {
		return nil, fmt.Errorf("%w: version is %d, not %d", errUnusable, have, version)
	}
	store, err := sqlitex.ResultText(conn.Prep("SELECT name FROM store"))
	if err != nil {
		return nil, unusable("read store", err)
	}
	if store != x.o.Store {
		return nil, fmt.Errorf("%w: it belongs to store %s, not %s", errUnusable, store, x.o.Store)
	}
	return x.readKnown(conn)
}

func (x *Index) create(conn *sqlite.Conn) error {
	script := schema + fmt.Sprintf("INSERT INTO grams (grams, rank) VALUES ('hashsize', %d);\nPRAGMA user_version = %d;\n", hashOctets, version)
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		return err
	}
	return sqlitex.Execute(conn, "INSERT INTO store (name) VALUES (?)", &sqlitex.ExecOptions{Args: []any{x.o.Store}})
}

// readKnown reads the blocks.
func (x *Index) readKnown(conn *sqlite.Conn) (known, error) {
	k := known{}
	var end journal.LSN // the last block
	err := sqlitex.Execute(conn, "SELECT block, indexed, passed FROM blocks ORDER BY block", &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error {
			if s.ColumnLen(1) != blockOctets || s.ColumnLen(2) != blockOctets || len(k) >= blocksMax {
				return fmt.Errorf("%w: a block has %d and %d octets", errUnusable, s.ColumnLen(1), s.ColumnLen(2))
			}
			var octets [blockOctets]byte
			b := &block{}
			s.ColumnBytes(1, octets[:])
			b.indexed.load(octets[:])
			s.ColumnBytes(2, octets[:])
			b.passed.load(octets[:])
			id := journal.LSN(s.ColumnInt64(0))
			k[id], end = b, id
			return nil
		},
	})
	switch {
	case errors.Is(err, errUnusable):
		return nil, err
	case err != nil:
		return nil, unusable("read blocks", err)
	}
	if b := k[end]; b != nil {
		if lsns := b.lsns(nil, end); len(lsns) > 0 && lsns[len(lsns)-1] > x.o.Last {
			return nil, fmt.Errorf("%w: it knows message %s, the journal ends at %s", errUnusable, lsns[len(lsns)-1], x.o.Last)
		}
	}
	return k, nil
}

// closeDatabase closes all connections. db is held for writing.
func (x *Index) closeDatabase() error {
	x.mu.Lock()
	x.known, x.wanted = known{}, nil
	x.mu.Unlock()
	var errs []error
	for range readersMax {
		if conn := <-x.readers; conn != nil {
			errs = append(errs, conn.Close())
		}
		x.readers <- nil
	}
	if x.conn != nil {
		errs = append(errs, x.conn.Close())
		x.conn = nil
	}
	return errors.Join(errs...)
}

// replace begins a new file in place of one that was found damaged. The error
// leaves the index without a file: then every message is a candidate.
func (x *Index) replace(cause error) error {
	x.db.Lock()
	defer x.db.Unlock()
	x.o.Log.Warn("text index is damaged and begun anew", telemetry.Path, x.o.Path, telemetry.Err, cause)
	x.closeDatabase() // what it says of a damaged file does not matter
	if err := x.moveAway(); err != nil {
		return err
	}
	return x.tryDatabase()
}

// asideSuffix names the last file that was moved away; one is kept.
const asideSuffix = ".aside"

func (x *Index) moveAway() error {
	for _, s := range []string{"-wal", "-shm"} {
		if err := x.o.FS.Remove(x.o.Path + s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s of text index: %w", s, err)
		}
	}
	if err := x.o.FS.Rename(x.o.Path, x.o.Path+asideSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("move text index away: %w", err)
	}
	return nil
}

func pragmas(conn *sqlite.Conn, settings ...string) error {
	for _, p := range settings {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
			return err
		}
	}
	return nil
}

// unusable marks errors that a new file would mend.
func unusable(what string, err error) error {
	if mendable(err) {
		return fmt.Errorf("%w: %s: %w", errUnusable, what, err)
	}
	return fmt.Errorf("%s text index: %w", what, err)
}

// errOutside marks errors that are not of the database.
var errOutside = errors.New("not indexed")

// mendable says that an error is about the file and not about the disk, the
// memory or the caller.
func mendable(err error) bool {
	if errors.Is(err, errOutside) {
		return false
	}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultError, sqlite.ResultFormat,
		sqlite.ResultSchema, sqlite.ResultMismatch, sqlite.ResultConstraint:
		return true
	}
	return false
}
