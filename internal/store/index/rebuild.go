package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

var errEnough = errors.New("enough")

// Rebuild makes a second index at path (or in memory, if that is empty) from
// the journal up to an LSN, calls fn with it and removes it: to compare it with
// the one in use. The journal may be in use meanwhile. Bodies are not read:
// Prepare is not called.
func Rebuild(ctx context.Context, path string, j *journal.Journal, upTo journal.LSN, views []View, fn func(*sqlite.Conn) error) (err error) {
	x := &Index{o: Options{Path: path, Log: slog.New(slog.DiscardHandler), Clock: sys.RealClock(), Metrics: NewMetrics(nil)}, j: j, views: views}
	for _, v := range views {
		if b, ok := v.(Batcher); ok {
			x.batcher = append(x.batcher, b)
		}
	}
	if path != "" {
		if err := Remove(path); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, Remove(path)) }()
	}
	if err := x.tryDatabase(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.conn.Close()) }()
	p := replayer{x: x, ctx: ctx, batch: make([]queued, 0, replayRecords), plain: true}
	err = j.Replay(ctx, 0, func(r journal.Record) error {
		if r.AsOf > upTo {
			return errEnough
		}
		return p.add(r)
	})
	if err == nil || errors.Is(err, errEnough) {
		err = p.apply()
	}
	if err != nil {
		return fmt.Errorf("rebuild index for comparison: %w", err)
	}
	return fn(x.conn)
}
