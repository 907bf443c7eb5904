package fate

import (
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Owns implements mailbox.Other.
func (s *Store) Owns(tag uint64) bool { return tag >= tagFirst && tag <= tagLast }

// Holds implements mailbox.Other: a message is wanted while it has recipients
// who have not got it, those that the operator was told of included, and while
// its sender is to get a report that returns its header.
func (s *Store) Holds(conn *sqlite.Conn, message journal.LSN) (held bool, err error) {
	err = each(conn, "SELECT 1 FROM fate_messages AS m WHERE lsn = ? AND (queued > 0 OR set_aside > 0 OR EXISTS (SELECT 1 FROM fate_owed AS o WHERE o.lsn = m.lsn))", func(*sqlite.Stmt) error {
		held = true
		return nil
	}, int64(message))
	return held, err
}

// Notes implements mailbox.Other.
func (s *Store) Notes(*sqlite.Conn) (interface {
	Drop(journal.Record) error
	States(*sqlite.Conn, func(envelope []byte) error) error
}, error) {
	return new(notes), nil
}

// notes are the messages that a compaction drops records of. What became of
// them is said in State records, unless their books have been purged: then the
// purge says it.
type notes struct{ messages []journal.LSN }

// notesMany is when messages that were noted twice are looked for.
const notesMany = 1 << 20

var errNewer = errors.New("of a newer version")

// Drop implements mailbox.Notes. What cannot be read, or is unknown, stays.
func (n *notes) Drop(r journal.Record) error {
	return journal.ParseFields(r.Envelope, func(tag uint64, v []byte) error {
		if tag < tagFirst || tag > tagLast {
			return nil
		}
		switch tag {
		case tagAccepted:
			n.note(r.LSN)
			_, err := scanAccepted(v, nil)
			return err
		case tagChange:
			c, err := decodeChange(v)
			n.note(c.LSN)
			return err
		case tagStateMessage:
			m, err := decodeMessageState(v)
			n.note(m.lsn)
			return err
		case tagOwed, tagStateOwed, tagTold:
			o, err := decodeOwed(v)
			if o.lsn == 0 {
				o.lsn = r.LSN
			}
			n.note(o.lsn)
			return err
		case tagPurged, tagStatePurged: // always said
			_, err := decodePurged(v)
			return err
		}
		return fmt.Errorf("facts with tag %#x: %w", tag, errNewer)
	})
}

func (n *notes) note(lsn journal.LSN) {
	if k := len(n.messages); k > 0 && n.messages[k-1] == lsn {
		return
	}
	if n.messages = append(n.messages, lsn); len(n.messages)%notesMany == 0 {
		n.sort()
	}
}

func (n *notes) sort() {
	slices.Sort(n.messages)
	n.messages = slices.Compact(n.messages)
}

// States implements mailbox.Notes.
func (n *notes) States(conn *sqlite.Conn, write func([]byte) error) error {
	n.sort()
	p, err := readPurged(conn)
	if err != nil {
		return fmt.Errorf("read purged books: %w", err)
	}
	var buf []byte
	if p.floor > 0 {
		buf = p.append(buf, tagStatePurged)
	}
	for _, lsn := range n.messages {
		ms, err := readState(conn, lsn)
		if err != nil {
			return fmt.Errorf("read books of message %s: %w", lsn, err)
		}
		if len(ms) == 0 {
			continue
		}
		o, err := readOwed(conn, lsn)
		if err != nil {
			return fmt.Errorf("read reports that are owed of message %s: %w", lsn, err)
		}
		for i := range ms {
			if buf = ms[i].append(buf); i == 0 {
				buf = o.append(buf, tagStateOwed)
			}
			if len(buf) < stateBytes {
				continue
			}
			if err := write(buf); err != nil {
				return err
			}
			buf = nil
		}
	}
	if len(buf) == 0 {
		return nil
	}
	return write(buf)
}

// readState reads all there is about a message, in parts that are not too
// large: the first has the facts. There are none if it is not known.
func readState(conn *sqlite.Conn, lsn journal.LSN) ([]messageState, error) {
	m := messageState{lsn: lsn}
	err := each(conn, "SELECT facts FROM fate_messages WHERE lsn = ?", func(st *sqlite.Stmt) error {
		m.facts = columnBytes(st, 0)
		return nil
	}, int64(lsn))
	if err != nil || m.facts == nil {
		return nil, err
	}
	err = eachRow(conn, lsn, func(r *row) {
		m.standings = append(m.standings, placed{r.n, r.standing})
	})
	if err != nil {
		return nil, err
	}
	parts := []messageState{m}
	for len(parts[len(parts)-1].standings) > stateRecipients {
		last := &parts[len(parts)-1]
		rest := last.standings[stateRecipients:]
		last.standings = last.standings[:stateRecipients]
		parts = append(parts, messageState{lsn: lsn, standings: rest})
	}
	return parts, nil
}

// eachRow calls fn with all recipients of a message that began open: first
// those that still are.
func eachRow(conn *sqlite.Conn, lsn journal.LSN, fn func(*row)) error {
	err := each(conn, "SELECT "+openColumns+", changed, last, events FROM fate_open WHERE lsn = ? ORDER BY place", func(st *sqlite.Stmt) error {
		fn(scanOpen(st))
		return nil
	}, int64(lsn))
	if err != nil {
		return err
	}
	return each(conn, "SELECT lsn, place, state, standing FROM fate_ended WHERE lsn = ? ORDER BY place", func(st *sqlite.Stmt) error {
		r, err := scanEnded(st)
		fn(r)
		return err
	}, int64(lsn))
}
