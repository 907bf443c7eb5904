package fate

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
)

// Recounted is a day whose books were counted anew.
type Recounted struct {
	Day     time.Time // its beginning
	Running Tally     // as it was kept
	Anew    Tally     // message by message
	Wrong   int       // sums of an account and a source that are not the same
}

// Recount counts one day anew, message by message, and compares that with its
// running sums: the first day from a time on of which there are books. The
// error is ErrNoSuchMessage if there is none.
func (s *Store) Recount(ctx context.Context, from time.Time) (r Recounted, err error) {
	if s.x == nil {
		return r, errDetached
	}
	err = s.x.Read(ctx, func(conn *sqlite.Conn) error {
		day, err := firstDay(conn, from.UnixMicro())
		if err != nil {
			return err
		}
		r.Day = time.UnixMicro(day * dayMicros).UTC()
		running, err := daySums(conn, "messages", " FROM fate_days WHERE day = ?", day)
		if err != nil {
			return err
		}
		anew, err := daySums(conn, "1", messages+" WHERE received >= ? AND received < ?", day*dayMicros, (day+1)*dayMicros)
		if err != nil {
			return err
		}
		for k, t := range running {
			r.Running.Add(*t, 1)
			if anew[k] == nil {
				r.Wrong++
			}
		}
		for k, t := range anew {
			r.Anew.Add(*t, 1)
			if running[k] == nil || *running[k] != *t {
				r.Wrong++
			}
		}
		return nil
	})
	if err != nil {
		return Recounted{}, fmt.Errorf("count a day anew: %w", err)
	}
	return r, nil
}

// firstDay is the first day from a time on that messages or sums are of.
func firstDay(conn *sqlite.Conn, from int64) (day int64, err error) {
	found := false
	note := func(n int64) {
		if !found || n < day {
			day, found = n, true
		}
	}
	err = each(conn, "SELECT day FROM fate_days WHERE day >= ? ORDER BY day LIMIT 1", func(st *sqlite.Stmt) error {
		note(st.ColumnInt64(0))
		return nil
	}, dayAt(from))
	if err == nil {
		err = each(conn, "SELECT received"+messages+" WHERE received >= ? ORDER BY received LIMIT 1", func(st *sqlite.Stmt) error {
			note(dayAt(st.ColumnInt64(0)))
			return nil
		}, dayAt(from)*dayMicros)
	}
	if err == nil && !found {
		err = ErrNoSuchMessage
	}
	return day, err
}

// daySums adds rows up by account and source.
func daySums(conn *sqlite.Conn, count, from string, args ...any) (days, error) {
	sums := days{}
	return sums, eachTally(conn, count, from, func(k dayKey, t *Tally) { sums.add(k, t, 1) }, args...)
}
