package queue

import (
	"context"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

const (
	// saveMax is how many changes are made durable at once: a record of half
	// a megabyte at worst.
	saveMax = 500
	// savePauseMin is how long is waited after a failure, savePauseMax how
	// long after many.
	savePauseMin = time.Second
	savePauseMax = 30 * time.Second
	// saveTries is how often changes are tried in a row before others go
	// first, refusedMax how many refused ones in a row mean that nothing can
	// be saved.
	saveTries  = 3
	refusedMax = 2
)

// saver makes changes durable: those of one attempt together, and those of
// all attempts that ended while the last lot was written as one lot.
type saver struct {
	q     *Queue
	kick  chan struct{}
	ended chan struct{} // run has returned
	aside []*parcel     // of run alone: those that were refused again and again

	mu      sync.Mutex // guards pending; taken after none
	pending []*parcel
}

// parcel is the changes of one attempt. They become durable together.
type parcel struct {
	changes []fate.Change
	done    chan struct{}
	tries   int // that failed; of run alone
}

// save returns when the changes are durable, however long that takes; or with
// false when the context has ended before.
func (s *saver) save(ctx context.Context, cs []fate.Change) bool {
	if len(cs) == 0 {
		return true
	}
	p := &parcel{changes: cs, done: make(chan struct{})}
	s.mu.Lock()
	s.pending = append(s.pending, p)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	case <-s.ended:
	}
	return false
}

// take gives the parcels of the next lot.
func (s *saver) take() []*parcel {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, changes := 0, 0
	for n < len(s.pending) && (n == 0 || changes+len(s.pending[n].changes) <= saveMax) {
		changes += len(s.pending[n].changes)
		n++
	}
	lot := s.pending[:n:n]
	s.pending = s.pending[n:]
	return lot
}

// run saves until the context ends. While nothing can be saved no attempt is
// begun: each would be one more whose result a crash forgets.
func (s *saver) run(ctx context.Context) {
	defer close(s.ended)
	pause := savePauseMin
	for ctx.Err() == nil {
		lot := s.take()
		if len(lot) == 0 {
			s.q.stall(false)
			s.idle(ctx)
			continue
		}
		left, err := s.try(ctx, lot)
		s.q.stall(len(left) == len(lot))
		if len(left) < len(lot) {
			pause = savePauseMin
		}
		if len(left) == 0 {
			continue
		}
		s.q.o.Metrics.saveErrors.Inc()
		s.q.log.Error("results cannot be made durable, will try again", telemetry.Err, err,
			telemetry.Count, len(left), telemetry.Dur, pause)
		s.again(left)
		if len(left) == len(lot) {
			s.q.sleep(ctx, pause)
			pause = min(2*pause, savePauseMax)
		}
	}
}

// idle waits for something to save.
func (s *saver) idle(ctx context.Context) {
	var retry <-chan time.Time
	if len(s.aside) > 0 {
		retry = s.q.o.Clock.After(savePauseMax)
	}
	select {
	case <-s.kick:
	case <-ctx.Done():
	case <-retry:
		s.mu.Lock()
		s.pending = append(s.pending, s.aside...)
		s.mu.Unlock()
		s.aside = nil
	}
}

// again has parcels saved later: at once, or when there is nothing else to do
// if they alone are refused again and again.
func (s *saver) again(left []*parcel) {
	var soon []*parcel
	for _, p := range left {
		if p.tries++; p.tries%saveTries == 0 {
			s.aside = append(s.aside, p)
		} else {
			soon = append(soon, p)
		}
	}
	s.mu.Lock()
	s.pending = append(soon, s.pending...)
	s.mu.Unlock()
}

// try saves a lot in one go. If that fails, one parcel after the other: one
// that is refused for what it says must not keep the others from being saved.
func (s *saver) try(ctx context.Context, lot []*parcel) (left []*parcel, err error) {
	var all []fate.Change
	for _, p := range lot {
		all = append(all, p.changes...)
	}
	if err = s.q.fates.Commit(ctx, all...); err == nil {
		for _, p := range lot {
			close(p.done)
		}
		return nil, nil
	}
	if len(lot) == 1 {
		return lot, err
	}
	for i, p := range lot {
		if i == refusedMax && len(left) == i {
			return lot, err // it is not for what they say
		}
		if e := s.q.fates.Commit(ctx, p.changes...); e != nil {
			left, err = append(left, p), e
			continue
		}
		close(p.done)
	}
	return left, err
}

// sleep waits, or until the context ends.
func (q *Queue) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-q.o.Clock.After(d):
	}
}

// stall stops new attempts, or lets them begin again.
func (q *Queue) stall(on bool) {
	q.mu.Lock()
	changed := q.m.stalled != on
	q.m.stalled = on
	q.mu.Unlock()
	if changed {
		q.wakeUp()
	}
}
