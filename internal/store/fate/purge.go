package fate

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Run purges hourly until ctx ends. It returns ctx's error.
func (s *Store) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.o.Clock.After(purgeEvery):
		}
		n, err := s.Purge(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, journal.ErrFull) || errors.Is(err, index.ErrBehind):
			s.o.Log.Warn("closed books are not dropped", telemetry.Err, err)
		case err != nil:
			s.o.Log.Error("closed books are not dropped", telemetry.Err, err)
		case n > 0:
			s.o.Log.Info("closed books dropped", telemetry.Count, n)
		}
	}
}

// Purge drops the books of messages of which all recipients ended longer ago
// than Options.Keep, and returns how many. What is dropped is a fact of the
// journal like others, so that a rebuilt index does not have it again.
func (s *Store) Purge(ctx context.Context) (int, error) {
	if s.x == nil {
		return 0, errDetached
	}
	total := 0
	for {
		var p purged
		var n int
		err := s.x.Read(ctx, func(conn *sqlite.Conn) (err error) {
			p, n, err = closed(conn, micros(s.o.Clock.Now().Add(-s.o.Keep)))
			return err
		})
		if err != nil {
			return total, fmt.Errorf("find closed books: %w", err)
		}
		if n == 0 {
			return total, nil
		}
		e := &journal.Entry{Type: journal.TypeBatch, Envelope: p.append(nil, tagPurged)}
		if _, err := s.x.Commit(ctx, e); err != nil {
			return total, fmt.Errorf("drop closed books: %w", err)
		}
		s.o.Metrics.purged.Add(float64(n))
		total += n
	}
}

// closed finds the oldest messages that may go, at most purgeMessages, and
// those between them that may not.
func closed(conn *sqlite.Conn, before int64) (p purged, n int, err error) {
	var stay []journal.LSN
	young, keep := 0, 0
	err = each(conn, "SELECT m.lsn, m.received, m.queued > 0 OR EXISTS (SELECT 1 FROM fate_owed AS o WHERE o.lsn = m.lsn), (SELECT max(e.changed) FROM fate_ended AS e WHERE e.lsn = m.lsn) "+
		"FROM fate_messages AS m ORDER BY m.lsn", func(st *sqlite.Stmt) error {
		lsn := journal.LSN(st.ColumnInt64(0))
		late := st.ColumnInt64(1) >= before
		if late {
			young++
		}
		if late || st.ColumnInt64(2) > 0 || st.ColumnInt64(3) >= before {
			stay = append(stay, lsn)
		} else {
			n, keep, p.floor = n+1, len(stay), lsn
		}
		if n == purgeMessages || len(stay) == purgeKept || young == purgeYoung {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	p.kept = stay[:keep]
	return p, n, err
}

// purge applies what a purge says: everything up to the floor goes, but for
// what is kept.
func (w *applying) purge(p *purged) error {
	if err := w.a.flush(w.conn); err != nil {
		return err
	}
	next := journal.LSN(0)
	for _, kept := range p.kept {
		if kept > next {
			if err := w.drop(next, kept-1); err != nil {
				return err
			}
		}
		next = kept + 1
	}
	if next <= p.floor {
		if err := w.drop(next, p.floor); err != nil {
			return err
		}
	}
	return exec(w.conn, "INSERT INTO fate_purged (id, floor) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET floor = max(floor, excluded.floor)",
		int64(p.floor))
}

// drop removes the books of a range of messages.
func (w *applying) drop(from, to journal.LSN) error {
	conn := w.conn
	taken, err := w.a.days.drop(conn, from, to)
	if err != nil {
		return err
	}
	w.dropped += taken
	if err := exec(conn, "DELETE FROM fate_messages WHERE lsn BETWEEN ? AND ?", int64(from), int64(to)); err != nil {
		return err
	}
	if conn.Changes() == 0 {
		return nil
	}
	for _, table := range []string{"fate_open", "fate_ended", "fate_owed"} {
		if err := exec(conn, "DELETE FROM "+table+" WHERE lsn BETWEEN ? AND ?", int64(from), int64(to)); err != nil {
			return err
		}
	}
	first, last := from>>blockBits, to>>blockBits
	if err := exec(conn, "DELETE FROM fate_names WHERE block > ? AND block < ?", int64(first), int64(last)); err != nil {
		return err
	}
	if err := rewriteNames(conn, first); err != nil || first == last {
		return err
	}
	return rewriteNames(conn, last)
}

// readPurged returns up to where books have been purged, and what of that was
// kept and is still there.
func readPurged(conn *sqlite.Conn) (p purged, err error) {
	err = each(conn, "SELECT floor FROM fate_purged", func(st *sqlite.Stmt) error {
		p.floor = journal.LSN(st.ColumnInt64(0))
		return nil
	})
	if err != nil || p.floor == 0 {
		return p, err
	}
	err = each(conn, "SELECT lsn FROM fate_messages WHERE lsn <= ? ORDER BY lsn", func(st *sqlite.Stmt) error {
		p.kept = append(p.kept, journal.LSN(st.ColumnInt64(0)))
		return nil
	}, int64(p.floor))
	return p, err
}
