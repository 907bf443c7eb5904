package account

import (
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Schema implements index.View.
func (s *Store) Schema() string {
	return `
CREATE TABLE account_fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE account_domain (name TEXT PRIMARY KEY, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE account (
	id INTEGER PRIMARY KEY,
	key TEXT NOT NULL UNIQUE,
	address TEXT NOT NULL,
	created INTEGER NOT NULL,
	admin INTEGER NOT NULL,
	disabled INTEGER NOT NULL,
	quota INTEGER NOT NULL,
	send_hour INTEGER NOT NULL,
	send_day INTEGER NOT NULL,
	contact TEXT NOT NULL,
	hash TEXT NOT NULL,
	salt BLOB, iterations INTEGER NOT NULL, stored BLOB, server BLOB
);
CREATE TABLE account_extra (id INTEGER NOT NULL, key TEXT NOT NULL, operation BLOB NOT NULL, PRIMARY KEY (id, key)) WITHOUT ROWID;
CREATE TABLE account_alias (key TEXT PRIMARY KEY, operation BLOB NOT NULL) WITHOUT ROWID;
`
}

// The names in account_fact.
const (
	factSecret = "secret"
	factNextID = "next id"
	// factChanged is the LSN of the last record that changed something.
	factChanged = "changed"
)

// Apply implements index.View: it brings the account operations of a Batch
// or State record into the tables. Its result, for Committed, are the changes.
func (s *Store) Apply(conn *sqlite.Conn, r journal.Record) (any, error) {
	if r.Type != journal.TypeBatch && r.Type != journal.TypeState {
		return nil, nil
	}
	changes, err := decodeChanges(r.Envelope)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	if stale, err := isStale(conn, r); err != nil || stale {
		return nil, err
	}
	for _, c := range changes {
		if err := applyChange(conn, c); err != nil {
			return nil, fmt.Errorf("apply account operation %#x: %w", c.op, err)
		}
	}
	return changes, exec(conn, "INSERT OR REPLACE INTO account_fact (name, value) VALUES (?, ?)", factChanged, int64(r.AsOf))
}

// isStale tells whether r is a State of a time that is past: written now by
// compaction, it says nothing that the tables do not know, and does not know
// what changed since. At a rebuild it comes in its place in time.
func isStale(conn *sqlite.Conn, r journal.Record) (stale bool, err error) {
	if r.Type != journal.TypeState {
		return false, nil
	}
	err = sqlitex.Execute(conn, "SELECT value FROM account_fact WHERE name = ?", &sqlitex.ExecOptions{
		Args: []any{factChanged},
		ResultFunc: func(st *sqlite.Stmt) error {
			stale = uint64(r.AsOf) < uint64(st.ColumnInt64(0))
			return nil
		},
	})
	return stale, err
}

// applyChange brings one change into the tables. Records state facts, so
// nothing can clash here unless a damaged record is missing; then the later
// fact holds.
func applyChange(conn *sqlite.Conn, c change) error {
	switch c.op {
	case opReset:
		for _, table := range []string{"account_fact", "account_domain", "account", "account_extra", "account_alias"} {
			if err := exec(conn, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	case opSecret:
		return exec(conn, "INSERT OR REPLACE INTO account_fact (name, value) VALUES (?, ?)", factSecret, c.secret)
	case opNextID:
		return raiseNextID(conn, c.id)
	case opDomain:
		return exec(conn, "INSERT OR REPLACE INTO account_domain (name, created) VALUES (?, ?)", string(c.domain), c.created)
	case opDomainRemoved:
		return exec(conn, "DELETE FROM account_domain WHERE name = ?", string(c.domain))
	case opAccount:
		return putAccount(conn, c)
	case opAccountRemoved:
		if err := exec(conn, "DELETE FROM account_extra WHERE id = ?", int64(c.id)); err != nil {
			return err
		}
		return exec(conn, "DELETE FROM account WHERE id = ?", int64(c.id))
	case opCredentials:
		k := c.creds.scram
		return exec(conn, "UPDATE account SET hash = ?, salt = ?, iterations = ?, stored = ?, server = ? WHERE id = ?",
			c.creds.hash, k.salt, k.iterations, k.stored, k.server, int64(c.id))
	case opSettings:
		o := c.settings
		return exec(conn, "UPDATE account SET admin = ?, disabled = ?, quota = ?, send_hour = ?, send_day = ?, contact = ? WHERE id = ?",
			o.Admin, o.Disabled, o.QuotaBytes, o.SendHour, o.SendDay, contactText(o), int64(c.id))
	case opAlias:
		return exec(conn, "INSERT OR REPLACE INTO account_alias (key, operation) VALUES (?, ?)",
			keyOf(c.name()), appendChange(nil, c))
	case opAliasRemoved:
		return exec(conn, "DELETE FROM account_alias WHERE key = ?", keyOf(c.name()))
	}
	return applyExtra(conn, c)
}

// putAccount replaces whatever has the ID or the address.
func putAccount(conn *sqlite.Conn, c change) error {
	err := exec(conn, "INSERT OR IGNORE INTO account_domain (name, created) VALUES (?, ?)", string(c.address.Domain), c.created)
	if err != nil {
		return err
	}
	err = exec(conn, "DELETE FROM account_extra WHERE id = ?1 OR id IN (SELECT id FROM account WHERE key = ?2)",
		int64(c.id), keyOf(c.address))
	if err != nil {
		return err
	}
	k, o := c.creds.scram, c.settings
	err = exec(conn, `INSERT OR REPLACE INTO account
		(id, key, address, created, admin, disabled, quota, send_hour, send_day, contact, hash, salt, iterations, stored, server)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(c.id), keyOf(c.address), c.address.String(), c.created,
		o.Admin, o.Disabled, o.QuotaBytes, o.SendHour, o.SendDay, contactText(o),
		c.creds.hash, k.salt, k.iterations, k.stored, k.server)
	if err != nil {
		return err
	}
	return raiseNextID(conn, c.id+1)
}

func raiseNextID(conn *sqlite.Conn, id ID) error {
	return exec(conn, `INSERT INTO account_fact (name, value) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)`, factNextID, int64(id))
}

func exec(conn *sqlite.Conn, query string, args ...any) error {
	return sqlitex.Execute(conn, query, &sqlitex.ExecOptions{Args: args})
}

// State returns the envelope of a State record: the operations that make all
// accounts, as of what conn shows, out of nothing. The same accounts give the
// same octets. journal.ErrTooLarge says that they do not fit into one record
// (about 30,000 accounts): then the records themselves must be kept.
func (s *Store) State(conn *sqlite.Conn) ([]byte, error) {
	out := appendChange(nil, change{op: opReset})
	err := eachChange(conn, func(c change) { out = appendChange(out, c) })
	if err != nil {
		return nil, fmt.Errorf("dump accounts: %w", err)
	}
	if len(out) > journal.EnvelopeMax {
		return nil, fmt.Errorf("dump accounts: %w", journal.ErrTooLarge)
	}
	return out, nil
}

// Owns implements mailbox.Other: it tells which facts in the journal's records
// are of accounts.
func (s *Store) Owns(tag uint64) bool { return tag >= opFirst && tag <= opLast }

// Holds implements mailbox.Other: accounts need no bodies.
func (s *Store) Holds(*sqlite.Conn, journal.LSN) (bool, error) { return false, nil }

// Notes implements mailbox.Other.
func (s *Store) Notes(conn *sqlite.Conn) (interface {
	Drop(journal.Record) error
	States(*sqlite.Conn, func(envelope []byte) error) error
}, error) {
	_, err := s.State(conn)
	return notes{s, err}, nil
}

// notes is this view's part in a compaction: whichever of its records go, the
// whole state is said. large is why it cannot be.
type notes struct {
	s     *Store
	large error
}

// Drop implements mailbox.Notes.
func (n notes) Drop(journal.Record) error { return n.large }

// States implements mailbox.Notes.
func (n notes) States(conn *sqlite.Conn, write func([]byte) error) error {
	b, err := n.s.State(conn)
	if err != nil {
		return err
	}
	return write(b)
}

// loadDirectory fills d from the tables.
func loadDirectory(conn *sqlite.Conn, d *directory) error {
	return eachChange(conn, d.apply)
}

// eachChange calls fn with the changes that make what the tables hold, in a
// fixed order.
func eachChange(conn *sqlite.Conn, fn func(change)) error {
	query := func(query string, row func(*sqlite.Stmt) error) error {
		return sqlitex.Execute(conn, query, &sqlitex.ExecOptions{ResultFunc: row})
	}
	err := query("SELECT name, value FROM account_fact ORDER BY name DESC", func(st *sqlite.Stmt) error {
		switch st.ColumnText(0) {
		case factSecret:
			fn(change{op: opSecret, secret: columnBytes(st, 1)})
		case factNextID:
			fn(change{op: opNextID, id: ID(st.ColumnInt64(1))})
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = query("SELECT name, created FROM account_domain ORDER BY name", func(st *sqlite.Stmt) error {
		fn(change{op: opDomain, domain: message.Domain(st.ColumnText(0)), created: st.ColumnInt64(1)})
		return nil
	})
	if err != nil {
		return err
	}
	err = query(`SELECT hash, salt, iterations, stored, server, id, address, created, admin, disabled, quota,
			send_hour, send_day, contact
		FROM account ORDER BY id`, func(st *sqlite.Stmt) error {
		c, err := accountRow(st)
		if err == nil {
			fn(c)
		}
		return err
	})
	if err != nil {
		return err
	}
	operation := func(st *sqlite.Stmt) error {
		changes, err := decodeChanges(columnBytes(st, 0))
		for _, c := range changes {
			fn(c)
		}
		return err
	}
	if err := query("SELECT operation FROM account_extra ORDER BY id, key", operation); err != nil {
		return err
	}
	return query("SELECT operation FROM account_alias ORDER BY key", operation)
}

// accountRow makes an opAccount of a row of eachChange's query.
func accountRow(st *sqlite.Stmt) (change, error) {
	address, err := message.ParseAddress(st.ColumnText(6))
	if err != nil {
		return change{}, fmt.Errorf("read address of account %d: %w", st.ColumnInt64(5), err)
	}
	o := Settings{
		Admin: st.ColumnBool(8), Disabled: st.ColumnBool(9), QuotaBytes: st.ColumnInt64(10),
		SendHour: st.ColumnInt64(11), SendDay: st.ColumnInt64(12),
	}
	if contact := st.ColumnText(13); contact != "" {
		if o.Contact, err = message.ParseAddress(contact); err != nil {
			return change{}, fmt.Errorf("read contact of account %d: %w", st.ColumnInt64(5), err)
		}
	}
	return change{
		op: opAccount, id: ID(st.ColumnInt64(5)), address: address, created: st.ColumnInt64(7),
		settings: o, creds: credentialsRow(st),
	}, nil
}

// credentialsRow reads hash, salt, iterations, stored and server from the
// first columns.
func credentialsRow(st *sqlite.Stmt) credentials {
	c := credentials{hash: st.ColumnText(0)}
	if salt := columnBytes(st, 1); len(salt) > 0 {
		c.scram = scramKeys{salt: salt, iterations: st.ColumnInt(2), stored: columnBytes(st, 3), server: columnBytes(st, 4)}
	}
	return c
}

func columnBytes(st *sqlite.Stmt, i int) []byte {
	b := make([]byte, st.ColumnLen(i))
	st.ColumnBytes(i, b)
	return b
}

func seconds(t time.Time) int64 { return max(t.Unix(), 0) }
