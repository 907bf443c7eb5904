package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// hint travels with a Message record from Deliver or Append, or from Prepare,
// to the applier.
type hint struct {
	summary []byte // of the parsed message; nil if the body is damaged
}

// message applies a Message record: where the body lies, and its filings.
func (a *applier) message(conn *sqlite.Conn, r journal.Record) (any, error) {
	m, err := decodeMessage(r.Envelope)
	if err != nil {
		return nil, err
	}
	if fresh, err := a.insertMessage(conn, r); err != nil {
		return nil, fmt.Errorf("insert message: %w", err)
	} else if !fresh {
		return &m, nil // a replay that began again a little earlier
	}
	a.live[r.Pos.Segment] += r.Pos.Length
	if len(m.filings) != 1 {
		dead := int64(0)
		if len(m.filings) == 0 {
			dead = m.seconds()
		}
		if err := exec(conn, "INSERT INTO refs (lsn, refs, dead) VALUES (?, ?, ?)",
			int64(r.LSN), int64(len(m.filings)), dead); err != nil {
			return nil, fmt.Errorf("insert references: %w", err)
		}
	}
	for i := range m.filings {
		f := &m.filings[i]
		box, err := a.mailbox(conn, f.mailbox, f.account)
		if err != nil {
			return nil, err
		}
		if !box.news(f.modSeq) {
			return nil, fmt.Errorf("mailbox %d: MODSEQ %d comes after %d", f.mailbox, f.modSeq, box.modSeq)
		}
		box.keywords = box.keywords.learn(f.keywords)
		e := Entry{UID: f.uid, Size: sizeOf(r.BodySize), ModSeq: f.modSeq, Flags: f.flags, Message: r.LSN, Date: m.seconds()}
		if err := a.insertFiling(conn, box, e); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// sizeOf is a body's size as entries have it.
func sizeOf(n int64) uint32 { return uint32(min(n, sizeMax)) }

// insertMessage inserts the row of a Message record and reports whether it was
// not there.
func (a *applier) insertMessage(conn *sqlite.Conn, r journal.Record) (bool, error) {
	s, err := conn.Prepare("INSERT INTO messages (lsn, segment, offset, length, large, size, summary) VALUES (?,?,?,?,?,?,?) " +
		"ON CONFLICT (lsn) DO NOTHING")
	if err != nil {
		return false, err
	}
	s.BindInt64(1, int64(r.LSN))
	s.BindInt64(2, int64(r.Pos.Segment))
	s.BindInt64(3, r.Pos.Offset)
	s.BindInt64(4, r.Pos.Length)
	s.BindInt64(5, int64(r.Large))
	s.BindInt64(6, r.BodySize)
	if h, ok := r.Hint.(*hint); ok && h.summary != nil {
		s.BindBytes(7, h.summary)
	} else {
		s.BindNull(7)
	}
	if err := step(s); err != nil {
		return false, err
	}
	return conn.Changes() > 0, nil
}

// insertFiling puts a message into a mailbox under a UID that was never used.
func (a *applier) insertFiling(conn *sqlite.Conn, box *row, e Entry) error {
	if err := box.take(e.UID); err != nil {
		return err
	}
	box.count(1, e.Flags, int64(e.Size))
	return writeFiling(conn, box.id, e)
}

func writeFiling(conn *sqlite.Conn, id ID, e Entry) error {
	s, err := conn.Prepare("INSERT OR REPLACE INTO filings (mailbox, uid, modseq, flags, message, size, date) VALUES (?,?,?,?,?,?,?)")
	if err != nil {
		return err
	}
	s.BindInt64(1, int64(id))
	s.BindInt64(2, int64(e.UID))
	s.BindInt64(3, int64(e.ModSeq))
	s.BindInt64(4, int64(e.Flags))
	s.BindInt64(5, int64(e.Message))
	s.BindInt64(6, int64(e.Size))
	s.BindInt64(7, e.Date)
	if err := step(s); err != nil {
		return fmt.Errorf("insert UID %d into mailbox %d: %w", e.UID, id, err)
	}
	return nil
}
