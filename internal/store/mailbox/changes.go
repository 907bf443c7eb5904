package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"
)

// Changes tells what has happened after a MODSEQ, with all that had been
// acknowledged: what a session needs between commands, and what QRESYNC asks
// (RFC 7162 §3.2.5). When nothing has happened it costs next to nothing. For a
// MODSEQ from before what is remembered, Vanished names every UID that is not
// there.
func (m *Mailbox) Changes(ctx context.Context, since ModSeq) (Changes, error) {
	var c Changes
	known := true
	err := m.s.look(ctx, m.b, func(h *hotlist) {
		n := int64(len(m.b.keywords))
		c = Changes{ModSeq: h.modSeq, UIDNext: h.uidNext, Keywords: m.keywords.Swap(n) != n}
		if since >= h.modSeq {
			return
		}
		c.Changed = h.changed(since)
		if c.Vanished, known = h.vanished(since); !known && since < m.b.floor {
			c.Vanished, known = h.missing(), true
		}
	})
	if err != nil || known {
		return c, err
	}
	c.Vanished, known, err = m.readVanished(ctx, since, c.ModSeq)
	if err != nil || known {
		return c, err
	}
	err = m.s.look(ctx, m.b, func(h *hotlist) { // forgotten meanwhile
		c.Changed, c.Vanished, c.ModSeq, c.UIDNext = h.changed(since), h.missing(), h.modSeq, h.uidNext
	})
	return c, err
}

// readVanished reads from the index what was expunged after since and up to a
// MODSEQ, and whether all of that is remembered.
func (m *Mailbox) readVanished(ctx context.Context, since, upTo ModSeq) (uids []UID, known bool, err error) {
	err = m.s.x.View(ctx, func(conn *sqlite.Conn) error {
		r, err := readRow(conn, m.b.id)
		if err != nil || r == nil {
			return errors.Join(err, ErrNoSuchMailbox)
		}
		known = since >= r.historyFloor
		s, err := conn.Prepare("SELECT uids FROM expunged WHERE mailbox = ? AND modseq > ? AND modseq <= ? ORDER BY modseq")
		if err != nil {
			return err
		}
		defer s.Reset()
		s.BindInt64(1, int64(m.b.id))
		s.BindInt64(2, int64(since))
		s.BindInt64(3, int64(upTo))
		for {
			ok, err := s.Step()
			if err != nil || !ok {
				return err
			}
			set, err := unpackUIDs(columnBytes(s, 0))
			if err != nil {
				return err
			}
			for u := range set.all() {
				uids = append(uids, u)
			}
		}
	})
	if err != nil {
		return nil, false, fmt.Errorf("read expunges of mailbox %d: %w", m.b.id, err)
	}
	slices.Sort(uids)
	return slices.Compact(uids), known, nil
}

// columnBytes returns a copy of a BLOB column.
func columnBytes(s *sqlite.Stmt, col int) []byte {
	b := make([]byte, s.ColumnLen(col))
	s.ColumnBytes(col, b)
	return b
}
