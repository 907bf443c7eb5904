package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	// loadBatch is how many recipients are read between two looks at whether
	// something can be tried.
	loadBatch = 1024
	// saveGrace is how long results may take to become durable when the queue
	// is to end, after Options.Grace; leaveGrace how long attempts may go on
	// that do not heed their context.
	saveGrace  = 10 * time.Second
	leaveGrace = 5 * time.Second
	// idleMax is how long Run sleeps when nothing is to come.
	idleMax = time.Hour
)

// work is what the tasks of one Run share.
type work struct {
	wg sync.WaitGroup
	// carry ends when attempts are to end, save when results need no longer
	// be kept.
	carry, save         context.Context
	endCarry, endSaving context.CancelFunc
}

// Run reads the queue and has its recipients tried, until the context ends;
// then it waits for the attempts under way, and returns nil. It returns an
// error if the queue cannot be read.
func (q *Queue) Run(ctx context.Context) error {
	w := &work{}
	w.carry, w.endCarry = context.WithCancel(context.WithoutCancel(ctx))
	w.save, w.endSaving = context.WithCancel(context.WithoutCancel(ctx))
	defer w.endCarry()
	defer w.endSaving()

	saved := make(chan struct{})
	go func() { defer close(saved); q.saver.run(w.save) }()
	loaded := make(chan error, 1)
	loadCtx, endLoad := context.WithCancel(ctx)
	defer endLoad()
	go func() { loaded <- q.load(loadCtx) }()

	err := q.serve(ctx, w, loaded)
	err = errors.Join(err, q.leave(w))
	w.endSaving()
	<-saved
	return err
}

// serve takes steps until the context ends or reading has failed.
func (q *Queue) serve(ctx context.Context, w *work, loaded chan error) error {
	for {
		q.takeIn()
		q.mu.Lock()
		now := q.now()
		tasks := q.m.step(now)
		wake := q.m.wake()
		q.mu.Unlock()
		for _, t := range tasks {
			w.wg.Go(func() { q.do(w, t) })
		}
		var timer <-chan time.Time
		if wake == 0 {
			timer = q.o.Clock.After(idleMax)
		} else {
			timer = q.o.Clock.After(min(time.Duration(max(wake-now, 0)), idleMax))
		}
		select {
		case <-ctx.Done():
			if loaded != nil {
				<-loaded
			}
			return nil
		case err := <-loaded:
			if err != nil && ctx.Err() == nil {
				return err
			}
			loaded = nil
		case <-q.poke:
		case <-timer:
		}
	}
}

// leave waits for the tasks under way: first for them to end by themselves,
// then for what they have to be made durable.
func (q *Queue) leave(w *work) error {
	done := make(chan struct{})
	go func() { w.wg.Wait(); close(done) }()
	for _, stage := range []struct {
		wait time.Duration
		end  context.CancelFunc
	}{{q.o.Grace, w.endCarry}, {saveGrace, w.endSaving}, {leaveGrace, func() {}}} {
		select {
		case <-done:
			return nil
		case <-q.o.Clock.After(stage.wait):
			stage.end()
		}
	}
	q.mu.Lock()
	n := q.m.active
	q.mu.Unlock()
	return fmt.Errorf("%d attempts did not end", n)
}

// do does a task. Whatever happens, the task is settled.
func (q *Queue) do(w *work, t *task) {
	var falls []fall
	defer func() {
		if p := recover(); p != nil {
			q.panicked(p)
			falls = nil
		}
		q.settle(t, falls)
	}()
	switch t.kind {
	case attempt:
		falls = q.attempt(w, t)
	case warn:
		falls = q.warn(w.save, t)
	case expire:
		falls = q.expire(w.save, t)
	}
}

// settle ends a task; falls that are missing mean that nothing has happened,
// and that the entry is looked at again after a pause.
func (q *Queue) settle(t *task, falls []fall) {
	q.mu.Lock()
	now := q.now()
	if len(falls) != len(t.slots) {
		falls = q.m.later(now, t, faultPause)
	}
	q.m.settle(now, t, falls)
	q.size.Store(int64(q.m.t.count))
	q.mu.Unlock()
	q.wakeUp()
}

func (q *Queue) panicked(p any) {
	q.o.Metrics.panics.Inc()
	q.log.Error("panic", telemetry.Err, fmt.Sprint(p), telemetry.Reason, stack())
}
