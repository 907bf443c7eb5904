package ban

import (
	"context"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	// gather is how long changes are collected for a batch: far less than a
	// banned source needs to cost anything, and enough to make 500 of them
	// in a wave.
	gather = 100 * time.Millisecond
	// tickEvery is how often ends are looked for.
	tickEvery = time.Second
	// checkEvery is how often the kernel's rules are compared with ours.
	checkEvery = 20 * time.Second
	// readEvery is how often the kernel's sets are read, and readShare keeps
	// that to one part in so many of the time: a set of a million takes a
	// second or so.
	readEvery = 30 * time.Second
	readShare = 30
	// retryFirst and retryMax are the pauses after the kernel failed.
	retryFirst = time.Second
	retryMax   = time.Minute
	// exitWait bounds what is still said to the kernel when Run ends.
	exitWait = 5 * time.Second
)

// kernel is the packet filter as Run needs it. Its methods may block.
type kernel interface {
	// build makes the table, keeping what its sets hold if they are like
	// ours; lost tells that they are empty.
	build(context.Context) (lost bool, err error)
	// check tells whether the rules are as build made them, and how many
	// packets they dropped since.
	check(context.Context) (intact bool, dropped uint64)
	// dump reads the sets; what is given is valid only during the call.
	dump(ctx context.Context, sources func([]element), networks func([]network)) error
	apply(context.Context, batch) error
	kernelEnd
}

// kernelEnd is how one is done with a kernel.
type kernelEnd interface {
	remove(context.Context) error // the table
	close()
	note() string // what this kernel cannot do; "" if all
}

// runner is what only Run's goroutine knows.
type runner struct {
	*List
	checkAt, readAt, retryAt time.Time
	retry                    time.Duration
}

// Run carries bans to the kernel until the context ends. It is to be called
// once, after root was given up, if that is to be.
func (l *List) Run(ctx context.Context) error {
	r := &runner{List: l, retry: retryFirst}
	now := l.o.Clock.Now()
	r.checkAt, r.readAt, r.retryAt = now.Add(checkEvery), now.Add(readEvery), now.Add(retryFirst)
	r.flush(ctx)
	var batchAt <-chan time.Time
	tick := l.o.Clock.After(tickEvery)
	for {
		select {
		case <-ctx.Done():
			r.exit(context.WithoutCancel(ctx))
			return nil
		case <-l.wake:
			if batchAt == nil {
				batchAt = l.o.Clock.After(gather)
			}
		case <-batchAt:
			batchAt = nil
			r.flush(ctx)
		case <-tick:
			tick = l.o.Clock.After(tickEvery)
			r.maintain(ctx)
		}
	}
}

// flush tells the kernel all that it is to be told.
func (r *runner) flush(ctx context.Context) {
	for ctx.Err() == nil {
		r.mu.Lock()
		b := r.m.take(r.o.Clock.Now())
		r.mu.Unlock()
		if b.empty() {
			return
		}
		err := r.kernel.apply(ctx, b)
		r.mu.Lock()
		r.m.told(b, err)
		r.mu.Unlock()
		if err != nil {
			r.failed(err)
			return
		}
	}
}

// maintain does what is due.
func (r *runner) maintain(ctx context.Context) {
	now := r.o.Clock.Now()
	r.mu.Lock()
	r.m.expire(now, r.m.bans.len())
	r.m.expireFixed(now)
	link := r.m.link
	r.mu.Unlock()
	switch {
	case link == linkDown && !now.Before(r.retryAt):
		r.reconnect(ctx)
	case link == linkUp:
		r.watch(ctx, now)
		r.flush(ctx)
	}
	r.measure()
}

// watch compares the kernel's table with ours when that is due.
func (r *runner) watch(ctx context.Context, now time.Time) {
	if !now.Before(r.checkAt) {
		r.checkAt = now.Add(checkEvery)
		intact, dropped := r.kernel.check(ctx)
		if ctx.Err() != nil {
			return
		}
		r.o.Metrics.dropped.Set(float64(dropped))
		if !intact {
			r.log.Warn("another program changed our table in the kernel; it is made anew")
			r.o.Metrics.mended.Inc()
			r.reconnect(ctx)
			return
		}
	}
	if !now.Before(r.readAt) {
		missing, err := r.read(ctx, whyOther)
		if err != nil {
			r.failed(err)
			return
		}
		if missing > 0 {
			r.log.Warn("bans were missing in the kernel; they are put there again", telemetry.Count, missing)
			r.o.Metrics.mended.Inc()
		}
		after := r.o.Clock.Now()
		r.readAt = after.Add(max(readEvery, readShare*after.Sub(now)))
	}
}

// connect makes the table and learns what it holds.
func (l *List) connect(ctx context.Context, other string) error {
	// Read first: build may have to throw away sets that are unlike ours.
	if _, err := l.read(ctx, other); err != nil {
		return err
	}
	lost, err := l.kernel.build(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.m.link = linkUp
	if lost {
		l.m.lost()
	} else {
		l.m.resay()
	}
	l.why = l.kernel.note()
	return nil
}

// read compares the list with the kernel's sets, and gives how many bans were
// missing there.
func (l *List) read(ctx context.Context, other string) (missing int, err error) {
	l.mu.Lock()
	r := l.m.begin(l.o.Clock.Now(), other)
	l.mu.Unlock()
	err = l.kernel.dump(ctx, func(part []element) {
		now := l.o.Clock.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range part {
			l.m.seen(r, e, now)
		}
	}, func(part []network) {
		now := l.o.Clock.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range part {
			l.m.seenNet(r, n, now)
		}
	})
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m.finish(r, l.o.Clock.Now()), nil
}

// reconnect tries to have the kernel again.
func (r *runner) reconnect(ctx context.Context) {
	r.mu.Lock()
	was := r.m.link
	r.mu.Unlock()
	if err := r.connect(ctx, whyOther); err != nil {
		r.failed(err)
		return
	}
	r.retry = retryFirst
	now := r.o.Clock.Now()
	r.checkAt, r.readAt = now.Add(checkEvery), now.Add(readEvery)
	if was != linkUp {
		r.log.Info("the kernel drops the packets of banned sources again")
	}
	r.flush(ctx)
}

// failed goes on without the kernel until the next try. The first failure of
// a row is logged.
func (r *runner) failed(err error) {
	if err == nil {
		return
	}
	r.o.Metrics.errors.Inc()
	r.retryAt = r.o.Clock.Now().Add(r.retry)
	r.retry = min(2*r.retry, retryMax)
	why := explain(err)
	r.mu.Lock()
	was, same := r.m.link, r.why == why
	r.m.link, r.why = linkDown, why
	r.mu.Unlock()
	if was == linkUp || !same {
		r.log.Warn("the kernel cannot be told of bans; they are refused at accept meanwhile",
			telemetry.Reason, why, telemetry.Err, err)
	}
}

// exit says the last to the kernel.
func (r *runner) exit(ctx context.Context) {
	if r.kernel == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, exitWait)
	defer cancel()
	if !r.o.RemoveAtExit {
		r.flush(ctx)
	} else if err := r.kernel.remove(ctx); err != nil {
		r.log.Warn("our table stays in the kernel; its bans end by themselves", telemetry.Err, err)
	}
	r.kernel.close()
	r.mu.Lock()
	r.m.link, r.why = linkNone, "the host is stopping"
	r.mu.Unlock()
}

// measure sets the gauges.
func (l *List) measure() {
	l.mu.Lock()
	n, up, evicted := l.m.bans.len()+len(l.m.fixed.of), l.m.link == linkUp, l.m.evicted
	l.m.evicted = 0
	l.mu.Unlock()
	l.o.Metrics.sources.Set(float64(n))
	l.o.Metrics.kernel.Set(0)
	if up {
		l.o.Metrics.kernel.Set(1)
	}
	if evicted > 0 {
		l.o.Metrics.bans.WithLabelValues("evicted").Add(float64(evicted))
	}
}
