package index

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// replay applies what the journal has and the tables have not.
func (x *Index) replay(ctx context.Context) error {
	start := x.o.Clock.Now()
	p := replayer{x: x, ctx: ctx, batch: make([]queued, 0, replayRecords)}
	from := x.applied
	err := x.j.Replay(ctx, from, p.add)
	if err == nil {
		err = p.apply()
	}
	if err != nil {
		return fmt.Errorf("replay journal after LSN %d: %w", from, err)
	}
	if err := x.catchUp(x.j.Durable()); err != nil {
		return err
	}
	if p.total > 0 {
		x.o.Log.Info("index replayed the journal", telemetry.Count, p.total,
			telemetry.LSN, uint64(x.applied), telemetry.Dur, x.o.Clock.Now().Sub(start))
	}
	return nil
}

// replayer gathers replayed records into batches.
type replayer struct {
	x     *Index
	ctx   context.Context
	batch []queued
	total int
	plain bool // do not prepare
}

// add takes the next record. Records of one order stay in one batch, and only
// the last of them moves the applied LSN to it, so that a crash in between
// makes the next Open take all of them again.
func (p *replayer) add(r journal.Record) error {
	o := r.AsOf // a State record comes here with an LSN of its own from later
	if n := len(p.batch); n > 0 {
		last := &p.batch[n-1]
		if last.mark == o {
			last.mark = o - 1
		} else if n >= replayRecords {
			if err := p.apply(); err != nil {
				return err
			}
		}
	}
	p.batch = append(p.batch, queued{rec: r, mark: o})
	return nil
}

// apply applies the batch.
func (p *replayer) apply() error {
	if len(p.batch) == 0 {
		return nil
	}
	if !p.plain {
		p.x.prepare(p.ctx, p.batch)
	}
	if err := p.x.replayBatch(p.batch); err != nil {
		return err
	}
	p.total += len(p.batch)
	clear(p.batch)
	p.batch = p.batch[:0]
	return p.ctx.Err()
}

// replayBatch applies prepared records in as few transactions as it can.
func (x *Index) replayBatch(batch []queued) error {
	for len(batch) > 0 {
		_, n, err := x.applyBatch(batch)
		if err != nil && !isFault(err) {
			_, n, err = x.applySingly(batch)
		}
		if isDamage(err) {
			x.markDamaged()
		}
		if err != nil {
			return err
		}
		x.applied = max(x.applied, batch[n-1].mark)
		x.o.Metrics.records.Add(float64(n))
		batch = batch[n:]
	}
	return nil
}

// catchUp moves the applied LSN to the journal's end: what follows the last
// applied record there concerns no view, or is the past retold (a State record
// of an earlier LSN).
func (x *Index) catchUp(end journal.LSN) error {
	if x.applied < end {
		if err := setApplied(x.conn, end); err != nil {
			return err
		}
	}
	x.applied, x.seen = max(x.applied, end), max(x.applied, end)
	return nil
}

// prepare lets the views work on the records in parallel.
func (x *Index) prepare(ctx context.Context, batch []queued) {
	var ps []Preparer
	for _, v := range x.views {
		if p, ok := v.(Preparer); ok {
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		return
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(batch); i += workers {
				for _, p := range ps {
					if h := p.Prepare(ctx, batch[i].rec); h != nil {
						batch[i].rec.Hint = h
						break
					}
				}
			}
		})
	}
	wg.Wait()
}

// setApplied writes the applied LSN.
func setApplied(conn *sqlite.Conn, lsn journal.LSN) error {
	return setFact(conn, "applied", strconv.FormatUint(uint64(lsn), 10))
}
