package index

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// schemaVersion is raised when the meaning of the index's own tables, or of any
// view's rows, changes without a change of the CREATE statements.
const schemaVersion = 1

const schema = `
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE set_aside (lsn INTEGER PRIMARY KEY, type INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL);
`

// errUnusable says that a database cannot be gone on with and why.
var errUnusable = errors.New("index.db cannot be used")

// openDatabase opens index.db, and begins a new one where there is none or the
// old one cannot be used.
func (x *Index) openDatabase() error {
	err := x.tryDatabase()
	if err == nil || x.o.Path == "" || !errors.Is(err, errUnusable) {
		return err
	}
	x.o.Log.Warn("index is rebuilt from the journal",
		telemetry.Path, x.o.Path, telemetry.Reason, err.Error())
	if err := moveAway(x.o.Path); err != nil {
		return err
	}
	return x.tryDatabase()
}

// tryDatabase opens the database, makes its tables if it is empty, and reads
// the applied LSN.
func (x *Index) tryDatabase() error {
	path, flags := x.o.Path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL
	if path == "" {
		path, flags = ":memory:", sqlite.OpenReadWrite|sqlite.OpenCreate
	} else if err := prepareFile(path); err != nil {
		return err
	}
	conn, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return unusable("open", err)
	}
	if err := x.setUp(conn); err != nil {
		conn.Close()
		return err
	}
	x.conn = conn
	return nil
}

// prepareFile sees whether the file may be opened, and makes it if there is
// none: SQLite would let others read it, and its WAL gets the same rights. The
// WAL of a file that somebody has deleted goes as well.
func prepareFile(path string) error {
	f := sys.OSFS()
	if _, err := f.Stat(path + damagedSuffix); err == nil {
		return fmt.Errorf("%w: it was found damaged, or was being removed", errUnusable)
	}
	_, err := f.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := removeAll(path+"-wal", path+"-shm"); err != nil {
		return err
	}
	file, err := f.Open(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	return file.Close()
}

// setUp prepares the writer's connection and checks whose database it is.
func (x *Index) setUp(conn *sqlite.Conn) error {
	err := pragmas(conn, "synchronous=NORMAL", fmt.Sprintf("cache_size=-%d", writerCacheKB),
		fmt.Sprintf("wal_autocheckpoint=%d", walPages), fmt.Sprintf("journal_size_limit=%d", walPages*4096),
		"temp_store=MEMORY")
	if err != nil {
		return unusable("prepare", err)
	}
	tables, err := sqlitex.ResultInt64(conn.Prep("SELECT count(*) FROM sqlite_schema"))
	if err != nil {
		return unusable("read schema", err)
	}
	if tables == 0 {
		return x.create(conn)
	}
	have, err := fact(conn, "schema")
	if err != nil {
		return unusable("read schema version", err)
	}
	if want := x.schemaID(); have != want {
		return fmt.Errorf("%w: its schema is %s, this program's is %s", errUnusable, have, want)
	}
	return x.readApplied(conn)
}

// pragmas sets a connection up. They cannot be run in a script, which is a
// transaction, nor kept prepared, since some do their work while compiled.
func pragmas(conn *sqlite.Conn, settings ...string) error {
	for _, p := range settings {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
			return err
		}
	}
	return nil
}

// readApplied reads the applied LSN and compares it with the journal.
func (x *Index) readApplied(conn *sqlite.Conn) error {
	store, err := fact(conn, "store")
	if err != nil {
		return unusable("read store", err)
	}
	if want := x.j.StoreID().String(); store != want {
		return fmt.Errorf("%w: it belongs to store %s, the journal is %s", errUnusable, store, want)
	}
	text, err := fact(conn, "applied")
	if err != nil {
		return unusable("read applied LSN", err)
	}
	lsn, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return unusable("read applied LSN", err)
	}
	if d := x.j.Durable(); journal.LSN(lsn) > d {
		return fmt.Errorf("%w: it has applied LSN %d, the journal ends at %d", errUnusable, lsn, d)
	}
	x.applied, x.seen = journal.LSN(lsn), journal.LSN(lsn)
	return nil
}

// create makes all tables, in one transaction.
func (x *Index) create(conn *sqlite.Conn) error {
	script := schema
	for _, v := range x.views {
		script += v.Schema() + "\n"
	}
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		return fmt.Errorf("create index tables: %w", err)
	}
	for _, f := range [][2]string{{"schema", x.schemaID()}, {"store", x.j.StoreID().String()}, {"applied", "0"}} {
		if err := setFact(conn, f[0], f[1]); err != nil {
			return err
		}
	}
	x.applied, x.seen = 0, 0
	return nil
}

// schemaID is a digest of everything that the tables depend on.
func (x *Index) schemaID() string {
	h := fnv.New64a()
	h.Write([]byte(schema))
	for _, v := range x.views {
		h.Write([]byte(v.Schema()))
	}
	return fmt.Sprintf("%d.%016x", schemaVersion, h.Sum64())
}

func fact(conn *sqlite.Conn, name string) (string, error) {
	stmt, err := conn.Prepare("SELECT value FROM facts WHERE name = ?")
	if err != nil {
		return "", err
	}
	defer stmt.Reset()
	stmt.BindText(1, name)
	return sqlitex.ResultText(stmt)
}

func setFact(conn *sqlite.Conn, name, value string) error {
	stmt, err := conn.Prepare("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
	if err != nil {
		return fmt.Errorf("write fact %s: %w", name, err)
	}
	stmt.BindText(1, name)
	stmt.BindText(2, value)
	if _, err := stmt.Step(); err != nil {
		return fmt.Errorf("write fact %s: %w", name, err)
	}
	return stmt.Reset()
}

// unusable marks errors that a new database would mend; a full disk, missing
// rights or a lack of memory are not of that kind.
func unusable(what string, err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultFull, sqlite.ResultNoMem, sqlite.ResultPerm, sqlite.ResultReadOnly,
		sqlite.ResultCantOpen, sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultIOErr:
		return fmt.Errorf("%s index: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", errUnusable, what, err)
}

const (
	// damagedSuffix names the mark that a running index leaves when SQLite
	// says that the file is corrupt. While a database is removed the mark is
	// there too: without its WAL what is left of it cannot be trusted.
	damagedSuffix = ".damaged"
	// asideSuffix names the last index that was moved away; one is kept.
	asideSuffix = ".aside"
)

// moveAway keeps an unusable database for whoever wants to look at it, and
// makes room for a new one.
func moveAway(path string) error {
	if err := mark(path); err != nil {
		return err
	}
	if err := removeAll(path+"-wal", path+"-shm"); err != nil {
		return err
	}
	if err := sys.OSFS().Rename(path, path+asideSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("move unusable index away: %w", err)
	}
	return removeAll(path + damagedSuffix)
}

// Remove deletes the index at path, so that the next Open rebuilds it. The
// index must be closed. It is no error if there is none.
func Remove(path string) error {
	if err := mark(path); err != nil {
		return err
	}
	return removeAll(path+"-wal", path+"-shm", path, path+damagedSuffix)
}

// mark says that the database must not be used.
func mark(path string) error {
	f, err := sys.OSFS().Open(path+damagedSuffix, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark index as unusable: %w", err)
	}
	return f.Close()
}

// removeAll removes files in order; those that do not exist are no error.
func removeAll(names ...string) error {
	for _, n := range names {
		if err := sys.OSFS().Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", n, err)
		}
	}
	return nil
}
