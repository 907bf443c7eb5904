package mailbox

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// sweepBatch is how many bodies expire in one transaction: the writer is not
// held up for long.
const sweepBatch = 2_000

// dying is a message that no mailbox has had for longer than the retention.
type dying struct {
	lsn     journal.LSN
	segment journal.SegmentID
	length  int64
}

// sweep marks bodies as expired that were filed nowhere for the retention and
// that no other view holds, and no longer counts them as live. Until its segment is compacted such a body
// could still be had back.
func (s *Store) sweep(ctx context.Context) error {
	cutoff := s.o.Clock.Now().Add(-s.o.Retention).Unix()
	after := journal.LSN(0)
	for {
		batch, err := s.dying(ctx, cutoff, after)
		if err != nil {
			return fmt.Errorf("find expired bodies: %w", err)
		}
		if len(batch) == 0 {
			break
		}
		after = batch[len(batch)-1].lsn
		if err := s.x.Update(ctx, false, func(conn *sqlite.Conn) error { return s.expire(conn, batch) }); err != nil {
			return fmt.Errorf("expire bodies: %w", err)
		}
	}
	return s.forgetSegments(ctx)
}

// dying finds the next messages whose retention has passed.
func (s *Store) dying(ctx context.Context, cutoff int64, after journal.LSN) (batch []dying, err error) {
	err = s.x.View(ctx, func(conn *sqlite.Conn) error {
		st, err := conn.Prepare("SELECT r.lsn, m.segment, m.length FROM refs AS r JOIN messages AS m ON m.lsn = r.lsn " +
			"WHERE r.lsn > ? AND r.refs <= 0 AND r.expired = 0 AND r.dead <= ? ORDER BY r.lsn LIMIT ?")
		if err != nil {
			return err
		}
		defer st.Reset()
		st.BindInt64(1, int64(after))
		st.BindInt64(2, cutoff)
		st.BindInt64(3, sweepBatch)
		for {
			ok, err := st.Step()
			if err != nil || !ok {
				return err
			}
			batch = append(batch, dying{journal.LSN(st.ColumnInt64(0)), journal.SegmentID(st.ColumnInt64(1)), st.ColumnInt64(2)})
		}
	})
	return batch, err
}

// expire marks messages, unless they have been filed or moved meanwhile or are
// about to be filed. The views are asked in the transaction that marks: what
// one of them does not hold now it never will again.
func (s *Store) expire(conn *sqlite.Conn, batch []dying) error {
	for _, d := range batch {
		held, err := s.held(conn, d.lsn)
		if err != nil {
			return err
		}
		if held {
			continue
		}
		if err := exec(conn, "UPDATE refs SET expired = 1 WHERE lsn = ? AND refs <= 0 AND expired = 0 "+
			"AND EXISTS (SELECT 1 FROM messages WHERE lsn = refs.lsn AND segment = ?)", int64(d.lsn), int64(d.segment)); err != nil {
			return err
		}
		if conn.Changes() == 0 {
			continue
		}
		if err := addLive(conn, d.segment, -d.length); err != nil {
			return err
		}
	}
	return nil
}

// held tells whether somebody needs the body of a message that no mailbox has.
func (s *Store) held(conn *sqlite.Conn, lsn journal.LSN) (bool, error) {
	if s.unfiled.has(lsn) {
		return true, nil
	}
	for _, v := range s.o.Others {
		if held, err := v.Holds(conn, lsn); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

// forgetSegments drops the numbers of segments that the journal does not have
// any more.
func (s *Store) forgetSegments(ctx context.Context) error {
	there := make(map[int64]bool)
	return s.x.Update(ctx, false, func(conn *sqlite.Conn) error {
		for _, g := range s.j.Segments() {
			there[int64(g.ID)] = true
		}
		var gone []int64
		if err := eachRow(conn, "SELECT id FROM segments", func(st *sqlite.Stmt) {
			if id := st.ColumnInt64(0); !there[id] {
				gone = append(gone, id)
			}
		}); err != nil {
			return err
		}
		for _, id := range gone {
			if err := exec(conn, "DELETE FROM segments WHERE id = ?", id); err != nil {
				return fmt.Errorf("forget segment %x: %w", id, err)
			}
		}
		return nil
	})
}
