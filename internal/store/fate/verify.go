package fate

import (
	"bytes"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Fresh implements mailbox.Verifier.
func (s *Store) Fresh() index.View { return New(Options{Clock: s.o.Clock}) }

// compared are the tables that Compare compares, each by its key: the first
// columns, which are numbers and begin with the message's LSN, or its day.
var compared = [...]struct {
	query string
	key   int
	what  string
}{
	{"SELECT lsn, received, account, source, accepted, delivered, relayed, bounced, discarded, set_aside, queued, facts " +
		"FROM fate_messages ORDER BY lsn", 1, "books of message %s"},
	{"SELECT " + openColumns + ", changed, last, events FROM fate_open ORDER BY lsn, place", 2, "open recipient of message %s"},
	{"SELECT lsn, place, state, changed, standing FROM fate_ended ORDER BY lsn, place", 2, "ended recipient of message %s"},
	{"SELECT lsn, place, success FROM fate_owed ORDER BY lsn, place", 2, "report of success of message %s"},
	{"SELECT lsn FROM fate_unread ORDER BY lsn", 1, "unreadable facts of message %s"},
	{"SELECT day, account, source, messages, " + tallyColumns + " FROM fate_days ORDER BY day, account, source", 3, ofDay},
	{"SELECT block << 8, keys FROM fate_names ORDER BY block", 1, "names of messages from LSN %s on"},
}

// ofDay is what sums of a day are called, which are of no one message.
const ofDay = "sums of the day %d days after 1970-01-01"

// Compare implements mailbox.Verifier: the tables in use are to be the same as
// fresh ones.
func (s *Store) Compare(live, fresh *sqlite.Conn, wrong func(what string, message journal.LSN)) error {
	for _, t := range compared {
		a, err := newTable(live, t.query, t.key)
		if err != nil {
			return err
		}
		defer a.st.Reset()
		b, err := newTable(fresh, t.query, t.key)
		if err != nil {
			return err
		}
		defer b.st.Reset()
		err = compareTables(a, b, func(lsn journal.LSN, how string) {
			if t.what == ofDay {
				wrong(fmt.Sprintf(ofDay, uint64(lsn))+" "+how, 0)
				return
			}
			wrong(fmt.Sprintf(t.what, lsn)+" "+how, lsn)
		})
		if err != nil {
			return fmt.Errorf("compare fates: %w", err)
		}
	}
	return nil
}

func compareTables(live, fresh *table, wrong func(journal.LSN, string)) error {
	for live.row != nil || fresh.row != nil {
		d := live.compare(fresh)
		switch {
		case d < 0:
			wrong(live.lsn(), "is in the index and not in the journal")
		case d > 0:
			wrong(fresh.lsn(), "is in the journal and not in the index")
		case !bytes.Equal(live.rest, fresh.rest):
			wrong(live.lsn(), "is other in the index than by the journal")
		}
		if d <= 0 {
			if err := live.next(); err != nil {
				return err
			}
		}
		if d >= 0 {
			if err := fresh.next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// table walks through one side of a comparison.
type table struct {
	st   *sqlite.Stmt
	row  []int64 // the key; nil at the end
	key  []int64
	rest []byte // all other columns
}

func newTable(conn *sqlite.Conn, query string, key int) (*table, error) {
	st, err := conn.Prepare(query)
	if err != nil {
		return nil, err
	}
	t := &table{st: st, key: make([]int64, key)}
	return t, t.next()
}

func (t *table) lsn() journal.LSN { return journal.LSN(t.row[0]) }

func (t *table) next() error {
	ok, err := t.st.Step()
	if t.row = nil; err != nil || !ok {
		return err
	}
	for i := range t.key {
		t.key[i] = t.st.ColumnInt64(i)
	}
	t.rest = t.rest[:0]
	for i := len(t.key); i < t.st.ColumnCount(); i++ {
		t.rest = fmt.Appendf(t.rest, "%d:%s,", t.st.ColumnLen(i), columnBytes(t.st, i))
	}
	t.row = t.key
	return nil
}

// compare orders the rows that two tables are at; the end comes last.
func (t *table) compare(o *table) int {
	switch {
	case o.row == nil:
		return -1
	case t.row == nil:
		return 1
	}
	for i := range t.row {
		if t.row[i] != o.row[i] {
			if t.row[i] < o.row[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}
