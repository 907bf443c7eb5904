package fate

import (
	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// insertMessage inserts a message and reports whether it was not there.
func insertMessage(conn *sqlite.Conn, lsn journal.LSN, m *scanned, facts []byte) (bool, error) {
	st, err := conn.Prepare("INSERT INTO fate_messages (lsn, received, account, source, accepted, delivered, " +
		"relayed, bounced, discarded, set_aside, queued, facts) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (lsn) DO NOTHING")
	if err != nil {
		return false, err
	}
	t := &m.tally
	for i, v := range [...]int64{int64(lsn), m.received, int64(m.account), int64(m.source), t.Accepted, t.Delivered, t.Relayed,
		t.Bounced, t.Discarded, t.SetAside, t.Queued} {
		st.BindInt64(i+1, v)
	}
	st.BindBytes(12, facts)
	if err := step(st); err != nil {
		return false, err
	}
	return conn.Changes() > 0, nil
}

const openColumns = "lsn, place, state, due, received, attempts, warned, account, domain, route"

// readOpen returns the row of a recipient that has not ended, or nil.
func readOpen(conn *sqlite.Conn, p place) (r *row, err error) {
	err = each(conn, "SELECT "+openColumns+", changed, last, events FROM fate_open WHERE lsn = ? AND place = ?", func(st *sqlite.Stmt) error {
		r = scanOpen(st)
		return nil
	}, int64(p.lsn), int64(p.n))
	return r, err
}

// scanOpen reads openColumns, changed, last and events.
func scanOpen(st *sqlite.Stmt) *row {
	r := &row{
		place: place{journal.LSN(st.ColumnInt64(0)), st.ColumnInt(1)},
		standing: standing{
			state: State(st.ColumnInt64(2)), due: st.ColumnInt64(3), attempts: st.ColumnInt(5), warned: st.ColumnBool(6),
			route: st.ColumnText(9), changed: st.ColumnInt64(10), last: journal.LSN(st.ColumnInt64(11)), events: columnBytes(st, 12),
		},
		received: st.ColumnInt64(4), account: account.ID(st.ColumnInt64(7)), domain: message.Domain(st.ColumnText(8)),
	}
	r.stored, r.seen = r.state, r.last
	return r
}

// readEnded returns the row of a recipient that has ended after it had been
// open, or nil.
func readEnded(conn *sqlite.Conn, p place) (r *row, err error) {
	err = each(conn, "SELECT lsn, place, state, standing FROM fate_ended WHERE lsn = ? AND place = ?", func(st *sqlite.Stmt) (err error) {
		r, err = scanEnded(st)
		return err
	}, int64(p.lsn), int64(p.n))
	return r, err
}

// scanEnded reads lsn, place, state and standing.
func scanEnded(st *sqlite.Stmt) (*row, error) {
	r := &row{place: place{journal.LSN(st.ColumnInt64(0)), st.ColumnInt(1)}}
	err := journal.ParseFields(columnBytes(st, 3), r.standing.decodeField)
	r.state = State(st.ColumnInt64(2))
	r.stored = r.state
	return r, err
}

// write stores a row in the table of its state.
func (r *row) write(conn *sqlite.Conn) error {
	if r.state.Ended() {
		if r.stored != 0 && !r.stored.Ended() {
			if err := exec(conn, "DELETE FROM fate_open WHERE lsn = ? AND place = ?", int64(r.lsn), int64(r.n)); err != nil {
				return err
			}
		}
		r.last = 0
		return exec(conn, "INSERT OR REPLACE INTO fate_ended (lsn, place, state, changed, standing) VALUES (?,?,?,?,?)",
			int64(r.lsn), int64(r.n), int64(r.state), r.changed, r.standing.append(nil))
	}
	if r.stored.Ended() { // cannot be, unless a record was lost
		if err := exec(conn, "DELETE FROM fate_ended WHERE lsn = ? AND place = ?", int64(r.lsn), int64(r.n)); err != nil {
			return err
		}
	}
	warned := int64(0)
	if r.warned {
		warned = 1
	}
	return exec(conn, "INSERT OR REPLACE INTO fate_open ("+openColumns+", changed, last, events) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
		int64(r.lsn), int64(r.n), int64(r.state), r.due, r.received, int64(r.attempts), warned, int64(r.account),
		string(r.domain), r.route, r.changed, int64(r.last), r.events)
}

// exec runs a statement that returns no rows.
func exec(conn *sqlite.Conn, query string, args ...any) error {
	return each(conn, query, nil, args...)
}

// each calls fn with every row of a query. Arguments are int64, string or
// []byte.
func each(conn *sqlite.Conn, query string, fn func(*sqlite.Stmt) error, args ...any) error {
	st, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	for i, a := range args {
		switch v := a.(type) {
		case int64:
			st.BindInt64(i+1, v)
		case string:
			st.BindText(i+1, v)
		case []byte:
			if v == nil {
				v = []byte{}
			}
			st.BindBytes(i+1, v)
		}
	}
	for {
		ok, err := st.Step()
		if err == nil && ok && fn != nil {
			err = fn(st)
		}
		if err != nil {
			st.Reset() // its error is the same
			return err
		}
		if !ok {
			return st.Reset()
		}
	}
}

func step(st *sqlite.Stmt) error {
	if _, err := st.Step(); err != nil {
		st.Reset()
		return err
	}
	return st.Reset()
}

func columnBytes(st *sqlite.Stmt, i int) []byte {
	b := make([]byte, st.ColumnLen(i))
	st.ColumnBytes(i, b)
	return b
}
