package fulltext

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Candidates gives those of lsns, which ascend, that may hold needle without
// regard to case (Fold): all that are not indexed, and those with all trigrams
// of the needle. It may return lsns itself, which it does not change. A fault
// of the index makes all messages candidates; the only error is ctx's.
func (x *Index) Candidates(ctx context.Context, lsns []journal.LSN, needle string) ([]journal.LSN, error) {
	grams := needleGrams(needle)
	if len(grams) == 0 || len(lsns) == 0 {
		return lsns, ctx.Err()
	}
	x.db.RLock()
	defer x.db.RUnlock()
	// First what is known, then the snapshot that it must be true of.
	maybe, first, last := x.unknown(lsns)
	if first > last || x.conn == nil {
		return lsns, ctx.Err()
	}
	conn, err := x.reader(ctx)
	if err == nil {
		maybe, err = lookUp(conn, match(grams), lsns, maybe, first, last)
		x.release(conn)
	}
	if cerr := ctx.Err(); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		x.o.Log.Warn("text index was of no help", telemetry.Err, err)
		x.o.Metrics.faults.Inc()
		if mendable(err) {
			x.mu.Lock()
			x.damaged = true
			x.mu.Unlock()
			x.wake()
		}
		return lsns, nil
	}
	x.o.Metrics.asked.Add(float64(len(lsns)))
	var out []journal.LSN
	for i, lsn := range lsns {
		if maybe[i] {
			out = append(out, lsn)
		}
	}
	x.o.Metrics.maybe.Add(float64(len(out)))
	return out, nil
}

// unknown marks the messages that are not indexed and gives the first and the
// last that is.
func (x *Index) unknown(lsns []journal.LSN) (maybe []bool, first, last journal.LSN) {
	maybe = make([]bool, len(lsns))
	first = ^journal.LSN(0)
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, lsn := range lsns {
		if !x.known.indexed(lsn) {
			maybe[i] = true
			continue
		}
		first, last = min(first, lsn), lsn
	}
	return maybe, first, last
}

// lookUp marks the messages that match. FTS5 gives rows by ascending rowid, so
// that they are merged with lsns in one go.
func lookUp(conn *sqlite.Conn, match string, lsns []journal.LSN, maybe []bool, first, last journal.LSN) ([]bool, error) {
	s, err := conn.Prepare("SELECT rowid FROM grams WHERE grams MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid")
	if err != nil {
		return nil, fmt.Errorf("look up: %w", err)
	}
	defer s.Reset()
	s.BindText(1, match)
	s.BindInt64(2, int64(first))
	s.BindInt64(3, int64(last))
	at := 0
	for rows := 0; ; rows++ {
		found, err := s.Step()
		if err != nil {
			return nil, fmt.Errorf("look up: %w", err)
		}
		if !found {
			return maybe, nil
		}
		if rows > rowsFactor*len(lsns)+rowsSpare {
			for ; at < len(lsns); at++ {
				maybe[at] = true
			}
			return maybe, nil
		}
		lsn := journal.LSN(s.ColumnInt64(0))
		for at < len(lsns) && lsns[at] < lsn {
			at++
		}
		for ; at < len(lsns) && lsns[at] == lsn; at++ {
			maybe[at] = true // filed more than once
		}
	}
}

// reader takes a connection that is interrupted when ctx ends. db is held.
func (x *Index) reader(ctx context.Context) (*sqlite.Conn, error) {
	var conn *sqlite.Conn
	select {
	case conn = <-x.readers:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if conn == nil {
		var err error
		if conn, err = openReader(x.o.Path); err != nil {
			x.readers <- nil
			return nil, err
		}
	}
	if ctx.Done() != nil {
		conn.SetInterrupt(ctx.Done())
	}
	return conn, nil
}

func (x *Index) release(conn *sqlite.Conn) {
	conn.SetInterrupt(nil)
	x.readers <- conn
}

func openReader(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, fmt.Errorf("open reader of text index: %w", err)
	}
	if err := pragmas(conn, "query_only=1", fmt.Sprintf("cache_size=-%d", readerCacheKB)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open reader of text index: %w", err)
	}
	return conn, nil
}
