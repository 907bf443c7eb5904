package ban

import (
	"context"
	"errors"
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
	// that to one part in so many of the time.
	readEvery = 30 * time.Second
	readShare = 30
	// readAllMax is how many bans are looked at by reading the sets whole.
	// The kernel begins each part of its answer at the set's first element:
	// 10,000 take it 10 ms, but a million 45 s. Beyond, it is asked about
	// some of those that must be there.
	readAllMax = 20_000
	// sampleMax is how many these are: that a set was flushed takes no more
	// to notice.
	sampleMax = 64
	// askMax is how many whose time is over are asked about in a second:
	// twice what is due of a million that last 10 minutes.
	askMax = 4000
	// retryFirst and retryMax are the pauses after the kernel failed.
	retryFirst = time.Second
	retryMax   = time.Minute
	// exitWait bounds what is still said to the kernel when Run ends.
	exitWait = 5 * time.Second
)

// kernel is the packet filter as Run needs it. Its methods may block.
type kernel interface {
	kernelTable
	kernelSets
}

type kernelTable interface {
	// build makes the table, keeping what its sets hold if they are like
	// ours; lost tells that they are empty.
	build(context.Context) (lost bool, err error)
	// check tells whether the rules are as build made them, and how many
	// packets they dropped since.
	check(context.Context) (intact bool, dropped uint64)
	note() string // what this kernel cannot do; "" if all
	remove(context.Context) error
	close()
}

type kernelSets interface {
	// dumpSources reads the sets of addresses; what is given is valid only
	// during the call. The error is errPartial if there was too much.
	dumpSources(context.Context, func([]element)) error
	// dumpNets reads the sets of networks.
	dumpNets(context.Context) ([]network, error)
	// ask fills in how long each address will stay in its set; 0: it is not
	// there.
	ask(context.Context, []element) error
	apply(context.Context, batch) error
}

// errPartial says that sets were too large to be read whole.
var errPartial = errors.New("the kernel's sets were not read to their end")

// runner is what only Run's goroutine knows.
type runner struct {
	*List
	checkAt, readAt, retryAt time.Time
	retry                    time.Duration
	readAll                  int // readAllMax, less in tests
}

// Run carries bans to the kernel until the context ends. It is to be called
// once, after root was given up, if that is to be.
func (l *List) Run(ctx context.Context) error {
	r := &runner{List: l, retry: retryFirst, readAll: readAllMax}
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
			r.failed(ctx, err)
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
	err := r.askDue(ctx, now)
	missing := 0
	if err == nil && !now.Before(r.readAt) {
		if r.Len() > r.readAll {
			missing, err = r.askSome(ctx, now)
		} else {
			missing, err = r.read(ctx, whyOther)
		}
		after := r.o.Clock.Now()
		r.readAt = after.Add(max(readEvery, readShare*after.Sub(now)))
	}
	if err != nil {
		r.failed(ctx, err)
		return
	}
	if missing > 0 {
		r.log.Warn("bans were missing in the kernel; they are put there again", telemetry.Count, missing)
		r.o.Metrics.mended.Inc()
	}
}

// askDue asks about the bans whose time is over unless packets prolonged them.
func (r *runner) askDue(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	due := r.m.due(now, askMax)
	r.mu.Unlock()
	if err := r.kernel.ask(ctx, due); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m.answered(due, r.o.Clock.Now())
	return nil
}

// askSome asks about some bans that must be there. If one is not, all are said
// again: it costs the kernel little to be told what it has.
func (r *runner) askSome(ctx context.Context, now time.Time) (missing int, err error) {
	r.mu.Lock()
	some := r.m.sample(now, sampleMax)
	r.mu.Unlock()
	if err := r.kernel.ask(ctx, some); err != nil {
		return 0, err
	}
	r.mu.Lock()
	if missing = r.m.missed(some); missing > 0 {
		r.m.lost()
	}
	r.mu.Unlock()
	nets, err := r.readNets(ctx, whyOther)
	return missing + nets, err
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
	err = l.kernel.dumpSources(ctx, func(part []element) {
		now := l.o.Clock.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range part {
			l.m.seen(r, e, now)
		}
	})
	var suspects []element
	switch {
	case errors.Is(err, errPartial):
		l.log.Warn("the kernel has more bans than can be read; those that are not listed end by themselves",
			telemetry.Count, l.Len())
	case err != nil:
		return 0, err
	default:
		l.mu.Lock()
		suspects = l.m.finish(r, l.o.Clock.Now())
		l.mu.Unlock()
	}
	if err := l.kernel.ask(ctx, suspects); err != nil {
		return 0, err
	}
	l.mu.Lock()
	missing = l.m.missed(suspects)
	l.mu.Unlock()
	nets, err := l.readNets(ctx, other)
	return missing + nets, err
}

// readNets is read for the networks.
func (l *List) readNets(ctx context.Context, other string) (missing int, err error) {
	l.mu.Lock()
	r := l.m.begin(l.o.Clock.Now(), other)
	l.mu.Unlock()
	all, err := l.kernel.dumpNets(ctx)
	if err != nil {
		return 0, err
	}
	now := l.o.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range all {
		l.m.seenNet(r, n, now)
	}
	return l.m.finishNets(r, now), nil
}

// reconnect tries to have the kernel again.
func (r *runner) reconnect(ctx context.Context) {
	r.mu.Lock()
	was := r.m.link
	r.mu.Unlock()
	if err := r.connect(ctx, whyOther); err != nil {
		r.failed(ctx, err)
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
func (r *runner) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // Run is to end, and says so to the kernel on its way
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
