package index

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// waiter is somebody at the barrier.
type waiter struct {
	lsn  journal.LSN
	done chan struct{} // closed when lsn is applied or never will be
}

// Wait returns when the index has applied lsn. The writer does not linger while
// somebody waits.
func (x *Index) Wait(ctx context.Context, lsn journal.LSN) error {
	x.mu.Lock()
	if err, ok := x.settled(lsn); ok {
		x.mu.Unlock()
		return err
	}
	w := waiter{lsn: lsn, done: make(chan struct{})}
	x.waiters = append(x.waiters, w)
	x.hurry()
	x.mu.Unlock()

	select {
	case <-w.done:
		x.mu.Lock()
		defer x.mu.Unlock()
		err, _ := x.settled(lsn)
		return err
	case <-ctx.Done():
		x.mu.Lock()
		defer x.mu.Unlock()
		for i := range x.waiters {
			if x.waiters[i].done == w.done {
				x.waiters = append(x.waiters[:i], x.waiters[i+1:]...)
				break
			}
		}
		return ctx.Err()
	}
}

// settled reports whether a wait for lsn is over, and how. x.mu is held.
func (x *Index) settled(lsn journal.LSN) (error, bool) {
	switch {
	case lsn <= x.applied:
		return nil, true
	case x.failed != nil:
		return x.failed, true
	case x.closed:
		return ErrClosed, true
	}
	return nil, false
}

// wake lets those go whose wait is over. x.mu is held.
func (x *Index) wake() {
	kept := x.waiters[:0]
	for _, w := range x.waiters {
		if _, ok := x.settled(w.lsn); ok {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(x.waiters[len(kept):])
	x.waiters = kept
}

// hurry ends the writer's linger. x.mu is held.
func (x *Index) hurry() {
	x.urgent = true
	x.nudge()
}

// nudge makes the writer look at the queue.
func (x *Index) nudge() {
	select {
	case x.kick <- struct{}{}:
	default:
	}
}
