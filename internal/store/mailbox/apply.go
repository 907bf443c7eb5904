package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// applier writes records into the tables. The index's writer goroutine owns it.
type applier struct {
	rows    map[ID]*row                 // what the tables have, with this transaction's changes
	touched []*row                      // changed in this transaction
	live    map[journal.SegmentID]int64 // changes of segments.live in this transaction
	floors  floorsState                 // raised in this transaction; zero if not
	publish map[ID]row                  // committed, not yet told to Committed
}

func newApplier() *applier {
	return &applier{
		rows:    make(map[ID]*row),
		live:    make(map[journal.SegmentID]int64),
		publish: make(map[ID]row),
	}
}

// rowsMax bounds the rows that are kept from one transaction to the next.
const rowsMax = 8_192

// Apply implements index.View. The result is a *messageFacts or the []any of
// operations, which Committed feeds to the hot lists.
func (s *Store) Apply(conn *sqlite.Conn, r journal.Record) (any, error) {
	switch r.Type {
	case journal.TypeMessage:
		return s.apply.message(conn, r)
	case journal.TypeBatch, journal.TypeState:
		ops, rest, err := decodeOps(r.Envelope)
		if err != nil {
			return nil, err
		}
		if rest != 0 || r.Type == journal.TypeState {
			s.apply.live[r.Pos.Segment] += r.Pos.Length
		}
		for _, op := range ops {
			if err := s.apply.op(conn, op, r); err != nil {
				return nil, err
			}
		}
		if len(ops) == 0 {
			return nil, nil
		}
		return ops, nil
	}
	return nil, nil
}

// op applies one operation.
func (a *applier) op(conn *sqlite.Conn, op any, r journal.Record) error {
	switch o := op.(type) {
	case *createOp:
		return a.create(conn, o)
	case *renameOp:
		return a.rename(conn, o)
	case *deleteOp:
		return a.remove(conn, o.mailbox, o.at)
	case *subscribeOp:
		return a.subscribe(conn, o)
	case *flagsOp:
		return a.flags(conn, o)
	case *expungeOp:
		return a.expunge(conn, o)
	case *fileOp:
		return a.file(conn, o)
	case *mailboxState:
		return a.mailboxState(conn, o)
	case *entriesState:
		return a.entriesState(conn, o)
	case *floorsState:
		a.raise(*o)
		return nil
	}
	panic(fmt.Sprintf("mailbox: cannot apply %T of LSN %d", op, r.LSN))
}

// Flush implements index.Batcher: it writes what was gathered.
func (s *Store) Flush(conn *sqlite.Conn) error {
	a := s.apply
	for _, r := range a.touched {
		if err := r.write(conn); err != nil {
			return fmt.Errorf("write mailbox %d: %w", r.id, err)
		}
	}
	for seg, n := range a.live {
		if err := addLive(conn, seg, n); err != nil {
			return err
		}
	}
	if a.floors != (floorsState{}) {
		if err := writeFloors(conn, a.floors); err != nil {
			return err
		}
	}
	for _, r := range a.touched {
		a.publish[r.id] = *r
		r.touched = false
		if r.gone {
			delete(a.rows, r.id)
		}
	}
	a.reset()
	return nil
}

// Rollback implements index.Batcher: what the rows say is not so.
func (s *Store) Rollback() {
	a := s.apply
	for _, r := range a.touched {
		delete(a.rows, r.id)
	}
	a.reset()
	// A failed COMMIT comes after Flush: the rows of that transaction are
	// clean, and wrong.
	clear(a.rows)
	clear(a.publish)
}

func (a *applier) reset() {
	clear(a.touched)
	a.touched = a.touched[:0]
	clear(a.live)
	a.floors = floorsState{}
	if len(a.rows) > rowsMax {
		clear(a.rows)
	}
}

// raise notes numbers that have been given.
func (a *applier) raise(f floorsState) {
	a.floors.nextID = max(a.floors.nextID, f.nextID)
	a.floors.uidValidity = max(a.floors.uidValidity, f.uidValidity)
}

// mailbox returns the row of a mailbox for changing. If the tables do not have
// it, there will be one that stands in for it: the record that made the mailbox
// was dropped by a compaction, whose State record will come, or is damaged.
func (a *applier) mailbox(conn *sqlite.Conn, id ID, acct account.ID) (*row, error) {
	r, err := a.find(conn, id)
	if err != nil {
		return nil, err
	}
	if r == nil || r.gone {
		r = &row{id: id, account: acct, name: fmt.Sprintf("Recovered/%d", id)}
		a.rows[id] = r
	}
	a.touch(r)
	return r, nil
}

// find returns the row of a mailbox, or nil.
func (a *applier) find(conn *sqlite.Conn, id ID) (*row, error) {
	if r := a.rows[id]; r != nil {
		return r, nil
	}
	r, err := readRow(conn, id)
	if err != nil {
		return nil, fmt.Errorf("read mailbox %d: %w", id, err)
	}
	if r != nil {
		a.rows[id] = r
	}
	return r, nil
}

func (a *applier) touch(r *row) {
	if !r.touched {
		r.touched = true
		a.touched = append(a.touched, r)
	}
}
