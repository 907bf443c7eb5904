package index

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// queued is one durable record on its way into the tables.
type queued struct {
	rec    journal.Record
	commit *commit     // nil if nobody waits for this very record
	mark   journal.LSN // what has been applied, once this record has
	known  bool        // a State record that was made from these very tables
}

// job is one call of Update.
type job struct {
	full bool
	fn   func(*sqlite.Conn) error
	err  error
	done chan struct{}
}

// durable takes records from the journal's goroutine. It blocks while the queue
// is full: that is the back-pressure.
func (x *Index) durable(rs []journal.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range rs {
		for len(x.queue) >= queuedRecordsMax && !x.closed && x.failed == nil {
			x.hurry()
			x.room.Wait()
		}
		if x.closed || x.failed != nil { // left to the next Open
			return
		}
		q := queued{rec: r, mark: r.LSN, known: r.Type == journal.TypeState}
		if c, ok := r.Hint.(*commit); ok {
			q.commit, q.rec.Hint = c, c.hint
			x.urgent = true
		}
		x.queue = append(x.queue, q)
		x.seen = r.LSN
	}
	x.o.Metrics.queued.Set(float64(len(x.queue)))
	x.nudge()
}

// write is the writer goroutine.
func (x *Index) write() {
	defer close(x.done)
	for {
		batch, jobs, ok := x.next()
		if !ok {
			x.leave()
			return
		}
		if len(batch) > 0 {
			x.settle(batch)
		}
		for _, j := range jobs {
			j.err = x.runJob(j)
			close(j.done)
		}
	}
}

// next waits for work and, where nobody waits for it, for company. It returns
// false when the index is closed and nothing is left to do.
func (x *Index) next() ([]queued, []*job, bool) {
	lingered := false
	for {
		x.mu.Lock()
		n := len(x.queue)
		if x.failed != nil {
			x.mu.Unlock()
			return nil, nil, false
		}
		if len(x.jobs) > 0 || n >= batchRecordsMax || n > 0 && (x.urgent || lingered || x.closed) {
			batch, jobs := x.queue[:min(n, batchRecordsMax)], x.jobs
			x.jobs = nil
			x.mu.Unlock()
			return batch, jobs, true
		}
		closed := x.closed
		x.mu.Unlock()
		switch {
		case closed:
			return nil, nil, false
		case n > 0:
			lingered = x.linger()
		default:
			select {
			case <-x.kick:
			case <-x.stop:
			}
		}
	}
}

// linger waits for company and reports whether the time is up.
func (x *Index) linger() bool {
	late := x.o.Clock.After(batchLinger)
	for {
		select {
		case <-late:
			return true
		case <-x.stop:
			return true
		case <-x.kick:
			x.mu.Lock()
			hurry := x.urgent || len(x.queue) >= batchRecordsMax || len(x.jobs) > 0
			x.mu.Unlock()
			if hurry {
				return true
			}
		}
	}
}

// settle applies a batch, or as much of it as time allows, and lets everybody
// know. After a fault outside the records it pauses; the records stay queued.
func (x *Index) settle(batch []queued) {
	start := x.o.Clock.Now()
	x.lock()
	applied, n, err := x.applyBatch(batch)
	if err != nil && !isFault(err) {
		applied, n, err = x.applySingly(batch)
	}
	x.unlock()
	if n > 0 {
		x.o.Metrics.records.Add(float64(n))
		x.o.Metrics.batches.Observe(float64(n))
		x.o.Metrics.tx.Observe(x.o.Clock.Now().Sub(start).Seconds())
		x.publish(batch[:n], applied)
	}
	if err == nil {
		x.recovered()
		return
	}
	x.fault(err)
}

// publish tells the views, the committers and those at the barrier.
func (x *Index) publish(batch []queued, applied [][]Applied) {
	for i, v := range x.views {
		v.Committed(applied[i])
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.applied = batch[len(batch)-1].mark
	for _, q := range batch {
		if q.commit != nil {
			close(q.commit.done)
		}
	}
	clear(x.queue[:len(batch)]) // the records' hints are garbage now
	x.queue = x.queue[len(batch):]
	if len(x.queue) == 0 {
		x.queue, x.urgent = nil, false
	}
	x.o.Metrics.queued.Set(float64(len(x.queue)))
	x.wake()
	x.room.Broadcast()
}

// applyBatch applies records in one transaction, and returns per view what
// Committed is to be told and how many records it was. On an error nothing has
// happened.
func (x *Index) applyBatch(batch []queued) ([][]Applied, int, error) {
	if err := run(x.conn, "BEGIN IMMEDIATE"); err != nil {
		return nil, 0, fmt.Errorf("begin: %w", err)
	}
	start := x.o.Clock.Now()
	applied := make([][]Applied, len(x.views))
	for i := range applied {
		applied[i] = make([]Applied, 0, len(batch))
	}
	results := make([]any, 0, len(batch))
	for i := range batch {
		if i%64 == 63 && x.o.Clock.Now().Sub(start) > batchTimeMax {
			break
		}
		var result any
		var err error
		if !batch[i].known {
			result, err = x.applyRecord(batch[i].rec, applied)
		}
		if err != nil {
			x.rollback()
			return nil, 0, fmt.Errorf("apply LSN %d: %w", batch[i].rec.LSN, err)
		}
		results = append(results, result)
	}
	n := len(results)
	if err := x.finish(batch[n-1].mark); err != nil {
		x.rollback()
		return nil, 0, err
	}
	for i, r := range results {
		if c := batch[i].commit; c != nil {
			c.result = r // publish wakes the committer
		}
	}
	return applied, n, nil
}

// applyRecord lets every view apply r.
func (x *Index) applyRecord(r journal.Record, applied [][]Applied) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	for i, v := range x.views {
		res, err := v.Apply(x.conn, r)
		if err != nil {
			return nil, err
		}
		applied[i] = append(applied[i], Applied{Record: r, Result: res})
		if result == nil {
			result = res
		}
	}
	return result, nil
}

// finish flushes the views, moves the applied LSN and commits.
func (x *Index) finish(lsn journal.LSN) error {
	for _, b := range x.batcher {
		if err := b.Flush(x.conn); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	if err := setApplied(x.conn, lsn); err != nil {
		return err
	}
	if err := run(x.conn, "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (x *Index) rollback() {
	if !x.conn.AutocommitEnabled() {
		if err := run(x.conn, "ROLLBACK"); err != nil {
			x.o.Log.Error("index: rollback", telemetry.Err, err)
		}
	}
	for _, b := range x.batcher {
		b.Rollback()
	}
}

// leave is the writer's last act: nobody is left waiting.
func (x *Index) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.failed
	if err == nil {
		err = ErrClosed
	}
	for _, j := range x.jobs {
		j.err = err
		close(j.done)
	}
	x.jobs = nil
	for _, q := range x.queue {
		if q.commit != nil {
			q.commit.err = err
			close(q.commit.done)
		}
	}
	x.queue = nil
	x.wake()
	x.room.Broadcast()
}

// Update calls fn in a write transaction of its own, between batches. With full
// set it is on disk when Update returns. fn
// must not use the index.
func (x *Index) Update(ctx context.Context, full bool, fn func(*sqlite.Conn) error) error {
	j := &job{full: full, fn: fn, done: make(chan struct{})}
	x.mu.Lock()
	if err, ok := x.settled(^journal.LSN(0)); ok {
		x.mu.Unlock()
		return err
	}
	x.jobs = append(x.jobs, j)
	x.nudge()
	x.mu.Unlock()
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *Index) runJob(j *job) (err error) {
	x.lock()
	defer x.unlock()
	if j.full {
		if err := pragmas(x.conn, "synchronous=FULL"); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, pragmas(x.conn, "synchronous=NORMAL"))
		}()
	}
	if err := run(x.conn, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := j.fn(x.conn); err != nil {
		return errors.Join(err, run(x.conn, "ROLLBACK"))
	}
	if err := run(x.conn, "COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("commit: %w", err), run(x.conn, "ROLLBACK"))
	}
	return nil
}

func (x *Index) lock() {
	if x.one != nil {
		x.one.Lock()
	}
}

func (x *Index) unlock() {
	if x.one != nil {
		x.one.Unlock()
	}
}

// run executes one statement that returns nothing of interest.
func run(conn *sqlite.Conn, query string) error {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	if _, err := stmt.Step(); err != nil {
		stmt.Reset()
		return err
	}
	return stmt.Reset()
}
