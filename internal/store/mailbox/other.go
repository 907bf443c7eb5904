package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Other is a view whose facts are in records of the same journal, some of them
// in the very Message records that mailboxes are made of.
type Other interface {
	// Owns tells whether the facts under this tag are the view's.
	Owns(tag uint64) bool
	// Holds tells whether the view needs the body of a message that no
	// mailbox has, as of the tables that conn shows. It then does not
	// expire.
	Holds(conn *sqlite.Conn, message journal.LSN) (bool, error)
	// Notes begins a compaction; conn shows the tables before it.
	Notes(conn *sqlite.Conn) (Notes, error)
}

// Notes are one view's part in one compaction. It is an alias, since a view
// that mailboxes build on cannot name it.
type Notes = interface {
	// Drop takes note of what a record says of the view, whose tags it has:
	// it is about to go. With an error it stays.
	Drop(r journal.Record) error
	// States gives write the envelopes of State records that say what all
	// dropped records amounted to, as of the snapshot that conn shows. Each
	// is small beside journal.EnvelopeMax; there may be many.
	States(conn *sqlite.Conn, write func(envelope []byte) error) error
}

// Verifier is an Other whose tables Verify compares as well.
type Verifier interface {
	// Fresh returns a view for making the tables anew.
	Fresh() index.View
	// Compare reports what differs between the tables in use and fresh ones,
	// in words, with the message that it is about or 0.
	Compare(live, fresh *sqlite.Conn, wrong func(what string, message journal.LSN)) error
}

// others are the notes that the other views take in one compaction.
type others struct {
	views []Other
	notes []Notes // nil where nothing can be noted: its records stay
	noted []bool
}

func newOthers(views []Other, conn *sqlite.Conn) (*others, error) {
	o := &others{views: views, notes: make([]Notes, len(views)), noted: make([]bool, len(views))}
	for i, v := range views {
		n, err := v.Notes(conn)
		if err != nil {
			return nil, fmt.Errorf("begin compaction of other view: %w", err)
		}
		o.notes[i] = n
	}
	return o, nil
}

// drop lets the views take note of a record, and reports whether all its facts
// that are not of mailboxes were somebody's who did.
func (o *others) drop(r journal.Record) bool {
	var concerned uint64 // a bit for each view
	for tag := range journal.Fields(r.Envelope) {
		if tag >= tagFirst && tag <= tagLast || tag < tagOthers && r.Type == journal.TypeMessage {
			continue
		}
		owner := -1
		for i, v := range o.views {
			if v.Owns(tag) {
				owner = i
				break
			}
		}
		if owner < 0 {
			return false
		}
		concerned |= 1 << owner
	}
	for i, n := range o.notes {
		if concerned&(1<<i) == 0 {
			continue
		}
		if err := n.Drop(r); err != nil {
			return false // what the views before it have noted does no harm
		}
		o.noted[i] = true
	}
	return true
}

// states writes what has become of all that was noted.
func (o *others) states(conn *sqlite.Conn, write func([]byte) error) error {
	for i, n := range o.notes {
		if !o.noted[i] {
			continue
		}
		if err := n.States(conn, write); err != nil {
			return fmt.Errorf("state of other view: %w", err)
		}
	}
	return nil
}
