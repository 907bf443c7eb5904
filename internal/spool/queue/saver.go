package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

const (
	// saveMax is how many changes are made durable at once: a record of half
	// a megabyte at worst.
	saveMax = 500
	// saveLinger is for how long a result waits for others, so that they share
	// a flush: little beside what an attempt takes anywhere but next door.
	saveLinger = 5 * time.Millisecond
	// savePauseMin is how long is waited after a failure, savePauseMax how
	// long after many.
	savePauseMin = time.Second
	savePauseMax = 30 * time.Second
	// saveTries is after how many failures in a row one more attempt may
	// begin, refusedMax how many parcels of a lot are tried by themselves
	// before it is clear that nothing can be saved.
	saveTries  = 10
	refusedMax = 2
)

// saver makes changes durable: those of one attempt together, and those of
// all attempts that ended while the last lot was written as one lot.
type saver struct {
	q     *Queue
	kick  chan struct{}
	ended chan struct{} // run has returned
	// Of run alone: what was refused while other parcels were not, and when it
	// was last tried.
	aside   []*parcel
	retried time.Time

	mu      sync.Mutex // guards pending; taken after none
	pending []*parcel
}

// parcel is the changes of one attempt. They become durable together.
type parcel struct {
	changes []fate.Change
	done    chan struct{}
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
// begun, since each would be one more whose result a crash forgets; but now
// and then one is, lest what cannot be saved is only some of it.
func (s *saver) run(ctx context.Context) {
	defer close(s.ended)
	pause, fails := savePauseMin, 0
	for ctx.Err() == nil {
		s.retry(ctx)
		s.gather(ctx)
		lot := s.take()
		if len(lot) == 0 {
			s.idle(ctx)
			continue
		}
		left, err := s.try(ctx, lot)
		if len(left) > 0 {
			s.complain(err, len(left))
		}
		if len(left) < len(lot) {
			pause, fails = savePauseMin, 0
			s.aside = append(s.aside, left...) // it is for what they say
			s.q.allow(everything)
			continue
		}
		s.giveBack(lot)
		if fails++; fails%saveTries == 0 {
			s.q.allow(oneMore)
		} else {
			s.q.allow(nothingNew)
		}
		s.q.sleep(ctx, pause)
		pause = min(2*pause, savePauseMax)
	}
}

func (s *saver) complain(err error, n int) {
	s.q.o.Metrics.saveErrors.Inc()
	s.q.log.Error("results cannot be made durable, will try again", telemetry.Err, err, telemetry.Count, n)
}

// gather waits a little for the results of other attempts under way, so that
// one flush does for many. It does not while all of them wait for this one.
func (s *saver) gather(ctx context.Context) {
	if !s.few() {
		return
	}
	late := s.q.o.Clock.After(saveLinger)
	for s.few() {
		select {
		case <-s.kick:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// few tells whether something is to be saved, and more may come soon.
func (s *saver) few() bool {
	s.q.mu.Lock()
	active := s.q.m.active
	s.q.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0 && len(s.pending) < active
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
	}
}

// retry saves what was refused, each by itself, now and then.
func (s *saver) retry(ctx context.Context) {
	if len(s.aside) == 0 || s.q.o.Clock.Now().Sub(s.retried) < savePauseMax {
		return
	}
	s.retried = s.q.o.Clock.Now()
	var left []*parcel
	for _, p := range s.aside {
		if err := s.q.fates.Commit(ctx, p.changes...); err != nil {
			s.complain(err, 1)
			left = append(left, p)
			continue
		}
		close(p.done)
	}
	s.aside = left
}

// giveBack has a lot tried again, first what was not tried by itself.
func (s *saver) giveBack(lot []*parcel) {
	n := min(refusedMax, len(lot))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(append(slices.Clone(lot[n:]), s.pending...), lot[:n]...)
}

// try saves a lot in one go. If that fails, one parcel after the other: some
// that are refused for what they say must not keep the others from being
// saved.
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
			return lot, err
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

// allow says how many new attempts may begin.
func (q *Queue) allow(a allowance) {
	q.mu.Lock()
	changed := q.m.allow(a)
	q.mu.Unlock()
	if changed {
		q.wakeUp()
	}
}
