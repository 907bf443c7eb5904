package load

import (
	"context"
	"sync"
	"time"
)

// goodMax is how many good deliveries may be under way: with a server that
// answers nobody, one a second for the longest patience fits.
const goodMax = 256

// post sends good mail by timetables and collects what becomes of it.
type post struct {
	sender *sender
	room   chan struct{}
	wg     sync.WaitGroup

	mu       sync.Mutex
	sent, ok int       // guarded by mu, as the rest
	ids      int       // of messages
	late     times     // of successes, beyond the median wait of their class
	outcomes []outcome // not collected yet
	waits    [2]time.Duration
}

func newPost(s *sender) *post {
	return &post{sender: s, room: make(chan struct{}, goodMax), late: newTimes()}
}

// begin sets the figures of progress to zero.
func (p *post) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.ok, p.late = 0, 0, newTimes()
}

// collect waits for all that is under way and hands over what became of it.
func (p *post) collect() []outcome {
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	done := p.outcomes
	p.outcomes = nil
	return done
}

// expectWaits sets the median waits that times are measured beyond.
func (p *post) expectWaits(known, fresh time.Duration) {
	p.mu.Lock()
	p.waits = [2]time.Duration{known, fresh}
	p.mu.Unlock()
}

// beyond is the time of a delivery without the wait that its class is used to.
func (p *post) beyond(o outcome) time.Duration {
	if o.known {
		return max(0, o.took-p.waits[0])
	}
	return max(0, o.took-p.waits[1])
}

// timetable sends n deliveries, one each gap, until ctx ends; they go on in
// the background.
func (p *post) timetable(ctx, deliver context.Context, began time.Time, n int, gap time.Duration, next func(i int) delivery) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		timer.Reset(time.Until(began.Add(time.Duration(i) * gap)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.send(deliver, began, next(i))
	}
}

// send starts one delivery. With no room left it has failed: a timetable does
// not wait for the server.
func (p *post) send(ctx context.Context, began time.Time, d delivery) {
	p.mu.Lock()
	p.sent++
	p.ids++
	d.id = p.ids
	p.mu.Unlock()
	at := time.Since(began)
	select {
	case p.room <- struct{}{}:
	default:
		p.done(outcome{delivery: d, at: at, failure: "too many under way"})
		return
	}
	p.wg.Go(func() {
		o := p.sender.deliver(ctx, d)
		<-p.room
		o.at = at
		if o.failure != "" && ctx.Err() != nil {
			p.mu.Lock()
			p.sent-- // it was us who broke it off
			p.mu.Unlock()
			return
		}
		p.done(o)
	})
}

func (p *post) done(o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcomes = append(p.outcomes, o)
	if o.failure == "" {
		p.ok++
		p.late.add(p.beyond(o))
	}
}

// progress gives the figures so far.
func (p *post) progress() (sent, ok int, p99 time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.ok, time.Duration(p.late.h.ValueAtQuantile(99)) * time.Microsecond
}
