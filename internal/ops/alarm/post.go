package alarm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	waitingMax  = 100              // notices that wait for one sink; the oldest leave
	sendTimeout = 10 * time.Second // of one attempt: who takes longer to note down an alarm is not there
	drainMax    = 3 * time.Second  // for what waits when the host stops
)

// pauses are the times between two attempts to send one notice: some twenty
// minutes in all, which bridges the restart of whatever takes them.
func pauses() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute}
}

// post is the road to one sink: a buffer and the goroutine that empties it.
type post struct {
	sink    Sink
	o       Options
	waiting chan Notice
	failing bool // the last attempt failed; of run's goroutine
}

func newPost(s Sink, o Options) *post {
	p := &post{sink: s, o: o, waiting: make(chan Notice, waitingMax)}
	p.o.Metrics.failing.WithLabelValues(s.Name()).Set(0)
	for _, result := range []string{"sent", "failed", "dropped"} {
		p.o.Metrics.notices.WithLabelValues(s.Name(), result)
	}
	return p
}

// put adds a notice to the buffer, in place of the oldest if it is full: what
// is new says more. One caller at a time.
func (p *post) put(n Notice) {
	for {
		select {
		case p.waiting <- n:
			return
		default:
		}
		select {
		case <-p.waiting:
			p.count("dropped")
		default:
		}
	}
}

func (p *post) count(result string) {
	p.o.Metrics.notices.WithLabelValues(p.sink.Name(), result).Inc()
}

// run carries notices until ctx is done, and then for drainMax what is left.
func (p *post) run(ctx context.Context) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-p.o.Clock.After(drainMax):
			cancel()
		case <-hard.Done():
		}
	})()
	for ctx.Err() == nil {
		select {
		case n := <-p.waiting:
			p.carry(ctx, hard, n)
		case <-ctx.Done():
		}
	}
	for hard.Err() == nil {
		select {
		case n := <-p.waiting:
			p.carry(ctx, hard, n)
		default:
			return
		}
	}
}

// carry sends a notice, again and again if need be. Once ctx is done there is
// one attempt, which hard ends.
func (p *post) carry(ctx, hard context.Context, n Notice) {
	tries := pauses()
	for {
		err := p.attempt(hard, n)
		p.note(err)
		if err == nil {
			p.count("sent")
			return
		}
		if len(tries) == 0 || errors.Is(err, ErrRefused) || ctx.Err() != nil {
			p.count("failed")
			return
		}
		select {
		case <-p.o.Clock.After(tries[0]):
		case <-ctx.Done(): // one more, while there is time
		}
		tries = tries[1:]
	}
}

func (p *post) attempt(ctx context.Context, n Notice) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return p.sink.Send(ctx, n)
}

// note tells the log and the metrics how the sink does.
func (p *post) note(err error) {
	up := 0.0
	switch {
	case err != nil:
		up = 1
		p.o.Log.Error("alarm was not taken", telemetry.Err, fmt.Errorf("%s: %w", p.sink.Name(), err))
	case p.failing:
		p.o.Log.Info("alarms are taken again", telemetry.Reason, p.sink.Name())
	}
	p.failing = err != nil
	p.o.Metrics.failing.WithLabelValues(p.sink.Name()).Set(up)
}
