package index

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// ErrSetAside says that a record is durable but could not be applied.
var ErrSetAside = errors.New("record was set aside")

// isFault tells a failure of the database or its disk from one of a record.
func isFault(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultFull, sqlite.ResultIOErr, sqlite.ResultNoMem, sqlite.ResultCantOpen,
		sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultReadOnly, sqlite.ResultPerm,
		sqlite.ResultInterrupt, sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return true
	}
	return false
}

// isDamage tells faults that only a new database mends.
func isDamage(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return true
	}
	return false
}

// applySingly applies records each in a transaction of its own, after one of
// them failed in company, and sets aside those that fail alone. It returns as
// applyBatch does; on a fault, how far it came.
func (x *Index) applySingly(batch []queued) ([][]Applied, int, error) {
	all := make([][]Applied, len(x.views))
	for n := range batch {
		applied, _, err := x.applyBatch(batch[n : n+1])
		if err != nil && !isFault(err) {
			applied, err = nil, x.setAside(batch[n], err)
		}
		if err != nil {
			return all, n, err
		}
		for i := range applied {
			all[i] = append(all[i], applied[i]...)
		}
	}
	return all, len(batch), nil
}

// setAside remembers a record that cannot be applied and goes past it.
func (x *Index) setAside(q queued, cause error) error {
	x.o.Log.Error("record set aside: it cannot be applied to the index",
		telemetry.LSN, uint64(q.rec.LSN), telemetry.Segment, uint64(q.rec.Pos.Segment), telemetry.Err, cause)
	x.o.Metrics.setAside.Inc()
	if err := run(x.conn, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := x.writeSetAside(q.rec, cause)
	if err == nil {
		err = x.finish(q.mark)
	}
	if err != nil {
		x.rollback()
		return err
	}
	if q.commit != nil {
		q.commit.err = fmt.Errorf("%w: %w", ErrSetAside, cause)
	}
	return nil
}

func (x *Index) writeSetAside(r journal.Record, cause error) error {
	return sqlitex.Execute(x.conn,
		"INSERT OR REPLACE INTO set_aside (lsn, type, segment, offset, length, at, reason) "+
			"SELECT ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM set_aside) < ?",
		&sqlitex.ExecOptions{Args: []any{int64(r.LSN), int64(r.Type), int64(r.Pos.Segment), r.Pos.Offset, r.Pos.Length,
			x.o.Clock.Now().Unix(), cause.Error(), setAsideMax}})
}

// SetAside is one record that could not be applied.
type SetAside struct {
	LSN      journal.LSN
	Type     journal.Type
	Position journal.Position
	Reason   string
}

// SetAsides lists the records that could not be applied, for verify.
func (x *Index) SetAsides(ctx context.Context) ([]SetAside, error) {
	var all []SetAside
	err := x.Read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT lsn, type, segment, offset, length, reason FROM set_aside ORDER BY lsn",
			&sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
				all = append(all, SetAside{
					LSN: journal.LSN(s.ColumnInt64(0)), Type: journal.Type(s.ColumnInt(1)),
					Position: journal.Position{Segment: journal.SegmentID(s.ColumnInt64(2)), Offset: s.ColumnInt64(3), Length: s.ColumnInt64(4)},
					Reason:   s.ColumnText(5),
				})
				return nil
			}})
	})
	return all, err
}

// fault handles a failed transaction: wait and try again, or, where the file
// itself is damaged, mark it and stop.
func (x *Index) fault(err error) {
	x.o.Metrics.faults.Inc()
	x.mu.Lock()
	known := x.err != nil
	x.err = err
	damaged := isDamage(err)
	if damaged {
		x.failed = fmt.Errorf("index is damaged, restart to rebuild it: %w", err)
		x.wake()
		x.room.Broadcast()
	}
	x.mu.Unlock()
	if !known {
		x.o.Log.Error("index stalled", telemetry.Err, err)
	}
	if damaged {
		x.markDamaged()
		return
	}
	select {
	case <-x.o.Clock.After(retryPause):
	case <-x.stop:
		x.mu.Lock() // the records are replayed by the next Open
		x.failed = err
		x.mu.Unlock()
	}
}

// recovered clears a stall.
func (x *Index) recovered() {
	x.mu.Lock()
	was := x.err
	x.err = nil
	x.mu.Unlock()
	if was != nil {
		x.o.Log.Info("index goes on")
	}
}

// markDamaged leaves a mark for the next Open: whoever cannot write pages may
// still be able to read them, and must not trust them.
func (x *Index) markDamaged() {
	if x.o.Path == "" {
		return
	}
	if err := mark(x.o.Path); err != nil {
		x.o.Log.Error("index is damaged", telemetry.Err, err)
	}
}
