package load

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// descriptorsElse are those that are no strangers': good senders, and what
	// a program has open anyway.
	descriptorsElse = goodMax + 64

	progressGap = 250 * time.Millisecond // between calls of Options.Progress, and samples for the picture
	meterShare  = 20                     // reading the server's memory may take a 20th of the time
	meterGapMin = time.Second            // and comes this often at most: each look costs the server a lock
	meterGapMax = 8 * time.Second        // or this often at least, however many thousand processes there are
	reachWait   = 5 * time.Second        // for the server to take the first connection
)

// wave is one run.
type wave struct {
	o     Options
	to    netip.AddrPort
	began time.Time
	curve *crowd
	loop  *loop
	post  *post
	meter *meter
	quiet quiet

	idle, before, after usage // before the quiet phase, before, and after the wave
	took                time.Duration
	interrupted         bool
	outcomes            []outcome

	mu       sync.Mutex
	status   Progress  // guarded by mu, as the rest
	since    time.Time // when the phase began
	samples  []Sample
	pssMin   int64
	pssMax   int64
	mostHeld int   // at a look at the server's memory
	mostPSS  int64 // then
}

// Wave runs the quiet phase and then the wave. When ctx ends, it ends with what
// there is so far, and the result says that it was interrupted.
func Wave(ctx context.Context, o Options) (*Result, error) {
	w, err := newWave(o)
	if err != nil {
		return nil, err
	}
	if err := w.reach(ctx); err != nil {
		return nil, err
	}
	watching, done := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { w.watch(watching) })
	if len(w.o.PIDs) > 0 {
		watch.Go(func() { w.meterAll(watching) })
	}
	w.idle = w.meter.read()
	err = w.quietPhase(ctx)
	if err == nil && ctx.Err() == nil {
		err = w.storm(ctx)
	}
	done()
	watch.Wait()
	if err != nil {
		return nil, err
	}
	w.interrupted = ctx.Err() != nil
	return w.result(), nil
}

// newWave checks everything that can be checked before a packet is sent.
func newWave(o Options) (*wave, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	to, err := target(o.To)
	if err != nil {
		return nil, err
	}
	curve, err := Wave2009()
	if err != nil {
		return nil, err
	}
	crowd := newCrowd(&o, curve)
	limit, err := descriptors()
	if err != nil {
		return nil, err
	}
	if err := enough(crowd, limit); err != nil {
		return nil, err
	}
	w := &wave{o: o, to: to, curve: crowd, began: time.Now(), meter: &meter{proc: "/proc", pids: o.PIDs}}
	if err := w.meter.check(); err != nil {
		return nil, err
	}
	w.post = newPost(&sender{to: to, rcpt: o.Rcpt, patience: o.Patience})
	w.loop, err = newLoop(&w.o, to, crowd, limit)
	return w, err
}

// enough tells whether there are descriptors for everybody.
func enough(c *crowd, limit uint64) error {
	need := c.offered() + descriptorsElse
	if uint64(need) <= limit {
		return nil
	}
	fits := max(0, float64(int64(limit)-descriptorsElse)) / float64(c.offered())
	return fmt.Errorf("factor %g needs %d file descriptors and this process may have %d: raise the limit (ulimit -Hn), or let the factor be %.3g times smaller, at most %.1f",
		c.factor, need, limit, 1/fits, math.Floor(fits*c.factor*10)/10)
}

// reach tells at once when nobody listens.
func (w *wave) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", w.to.String())
	if err != nil {
		return fmt.Errorf("no server takes connections at %s: %w; start one (breakwater demo), or name another with --to", w.to, err)
	}
	return conn.Close()
}

// storm plays the curve, with good mail beside it.
func (w *wave) storm(ctx context.Context) error {
	w.before = w.meter.read()
	w.warm(w.before.pss)
	w.post.begin()
	began := time.Now()
	w.phase(PhaseWave, began, w.curve.end())
	played, stop := context.WithDeadline(ctx, began.Add(w.curve.end()))
	defer stop()
	var mail sync.WaitGroup
	every := time.Duration(float64(time.Second) / w.o.GoodRate)
	mail.Go(func() {
		n := int(w.curve.end()/every) + 1
		w.post.timetable(played, ctx, began, n, every, func(i int) delivery { return w.quiet.senders[i%len(w.quiet.senders)] })
	})
	mail.Go(func() {
		// As often as the known, or as the networks last.
		gap := max(every, w.curve.end()/newSenders)
		w.post.timetable(played, ctx, began.Add(gap/2), min(newSenders, int(w.curve.end()/gap)), gap, newSender)
	})
	mail.Go(func() {
		<-played.Done()
		w.phase(PhaseEnd, time.Now(), w.o.Patience)
	})
	err := w.loop.run(ctx)
	w.took = time.Since(began)
	mail.Wait()
	w.outcomes = w.post.collect()
	w.after = w.meter.read()
	return err
}

// phase notes for those who look on what goes on now.
func (w *wave) phase(name string, began time.Time, of time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = Progress{Phase: name, Of: of, PSS: w.status.PSS}
	w.since = began
}

// watch keeps the samples and calls Progress.
func (w *wave) watch(ctx context.Context) {
	t := time.NewTicker(progressGap)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p := w.sample()
		if w.o.Progress != nil {
			w.o.Progress(p)
		}
	}
}

func (w *wave) sample() Progress {
	c := w.loop.snapshot()
	sent, ok, p99 := w.post.progress()
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.status
	p.At = time.Since(w.since)
	p.Offered, p.Held, p.Refused, p.Lost = c.wanted, c.established, c.fates[refused], c.fates[lost]
	p.Sent, p.OK, p.P99 = sent, ok, p99
	if p.Phase == PhaseWave {
		w.samples = append(w.samples, Sample{At: p.At.Seconds(), Offered: c.wanted, Held: c.established, Greeted: c.greeted, PSS: p.PSS})
	}
	return *p
}

// meterAll reads the server's memory again and again.
func (w *wave) meterAll(ctx context.Context) {
	gap := meterGapMin
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
		}
		held := w.loop.snapshot().established
		began := time.Now()
		u := w.meter.read()
		gap = min(max(meterGapMin, meterShare*time.Since(began)), meterGapMax)
		w.remember(u.pss, held)
	}
}

// warm takes the server's memory when good mail has made it ready: what was seen
// before does not count.
func (w *wave) warm(pss int64) {
	w.mu.Lock()
	w.pssMin, w.pssMax = 0, 0
	w.mu.Unlock()
	w.remember(pss, 0)
}

// remember takes the server's memory with a number of guests.
func (w *wave) remember(pss int64, held int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.PSS = pss
	w.pssMax = max(w.pssMax, pss)
	if w.pssMin == 0 || pss < w.pssMin {
		w.pssMin = pss
	}
	if held > 0 && (held > w.mostHeld || held == w.mostHeld && pss > w.mostPSS) {
		w.mostHeld, w.mostPSS = held, pss
	}
}
