package mailbox

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// repointBatch is how many records are looked at in one transaction.
const repointBatch = 2_000

// repoint finds the messages again if the index points into segments that the
// journal does not have: an older copy of the index was put back, and a
// compaction has moved records since. It reads through the journal once. What
// is not found was in a file that is lost: it stays in its mailboxes, reading
// it says so, and verify names it.
func (s *Store) repoint(ctx context.Context) error {
	stale, err := s.staleSegments(ctx)
	if err != nil || len(stale) == 0 {
		return err
	}
	s.o.Log.Warn("index points into segments that are gone, looking for their messages", telemetry.Count, len(stale))
	live := make(map[journal.SegmentID]int64)
	batch := make([]journal.Record, 0, repointBatch)
	flush := func() error {
		defer func() { batch = batch[:0] }()
		return s.x.Update(ctx, false, func(conn *sqlite.Conn) error { return pointAt(conn, batch) })
	}
	err = s.j.Replay(ctx, 0, func(r journal.Record) error {
		r.Envelope = keepOthersOnly(r, live)
		if r.Type != journal.TypeMessage {
			return nil
		}
		if batch = append(batch, r); len(batch) < repointBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("find moved messages: %w", err)
	}
	return s.x.Update(ctx, true, func(conn *sqlite.Conn) error { return recountLive(conn, stale, live) })
}

// keepOthersOnly counts a record that is no message as live where compaction
// would keep it, and lets go of its envelope.
func keepOthersOnly(r journal.Record, live map[journal.SegmentID]int64) []byte {
	switch r.Type {
	case journal.TypeState:
		live[r.Pos.Segment] += r.Pos.Length
	case journal.TypeBatch:
		if _, rest, err := decodeOps(r.Envelope); err != nil || rest != 0 {
			live[r.Pos.Segment] += r.Pos.Length
		}
	}
	return nil
}

// staleSegments returns the segments that the index counts and the journal does
// not have.
func (s *Store) staleSegments(ctx context.Context) (stale []int64, err error) {
	err = s.x.View(ctx, func(conn *sqlite.Conn) error {
		return eachRow(conn, "SELECT id FROM segments", func(st *sqlite.Stmt) {
			if id := st.ColumnInt64(0); !s.hasSegment(journal.SegmentID(id)) {
				stale = append(stale, id)
			}
		})
	})
	return stale, err
}

// pointAt corrects where messages lie.
func pointAt(conn *sqlite.Conn, rs []journal.Record) error {
	st, err := conn.Prepare("UPDATE messages SET segment = ?1, offset = ?2, length = ?3 WHERE lsn = ?4 AND (segment <> ?1 OR offset <> ?2)")
	if err != nil {
		return err
	}
	for _, r := range rs {
		st.BindInt64(1, int64(r.Pos.Segment))
		st.BindInt64(2, r.Pos.Offset)
		st.BindInt64(3, r.Pos.Length)
		st.BindInt64(4, int64(r.LSN))
		if err := step(st); err != nil {
			return fmt.Errorf("point at message %s: %w", r.LSN, err)
		}
	}
	return nil
}

// recountLive forgets messages that nobody has and that are gone with their
// segments, and counts live bytes anew.
func recountLive(conn *sqlite.Conn, stale []int64, others map[journal.SegmentID]int64) error {
	for _, id := range stale {
		for _, q := range []string{
			"DELETE FROM messages WHERE segment = ? AND EXISTS (SELECT 1 FROM refs WHERE refs.lsn = messages.lsn AND refs <= 0)",
			"DELETE FROM refs WHERE refs <= 0 AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.lsn = refs.lsn) AND ? <> 0",
		} {
			if err := exec(conn, q, id); err != nil {
				return fmt.Errorf("forget messages of segment %x: %w", id, err)
			}
		}
	}
	for _, q := range []string{
		"DELETE FROM segments",
		"INSERT INTO segments (id, live) SELECT m.segment, sum(m.length) FROM messages AS m LEFT JOIN refs AS r ON r.lsn = m.lsn " +
			"WHERE coalesce(r.expired, 0) = 0 GROUP BY m.segment",
	} {
		if err := exec(conn, q); err != nil {
			return fmt.Errorf("count live bytes: %w", err)
		}
	}
	for seg, n := range others {
		if err := addLive(conn, seg, n); err != nil {
			return err
		}
	}
	for _, id := range stale { // lost files are not looked for again
		if err := exec(conn, "DELETE FROM segments WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}
