package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// sink is the other hosts, as random as they are: it counts what it has
// accepted, whether or not its reply came home.
type sink struct {
	mu     sync.Mutex
	rng    *rand.Rand
	got    map[ref]int // accepted
	cut    map[ref]int // accepted, and the reply or what came of it was cut off
	flight map[ref]int // attempts under way
}

func (s *sink) roll(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

// carrier is a life's way to the sink. A crash in an attempt may come before
// or after the sink has accepted.
func (s *sink) carrier(l *life) Carrier {
	return carrier(func(ctx context.Context, j Job) (r Result) {
		s.fly(j, 1)
		defer s.fly(j, -1)
		if s.roll(40) == 0 {
			panic("a defect")
		}
		if l.pass(ctx, time.Duration(s.roll(3000))*time.Millisecond) != nil {
			return all(j, Unknown, fate.Event{State: fate.Deferred, Reason: "cut off"})
		}
		switch r.Health = []Health{Up, Up, Up, Up, Busy, Down, Unknown}[s.roll(7)]; r.Health {
		case Up:
		default:
			return all(j, r.Health, fate.Event{State: fate.Deferred, Reply: "421 4.3.2 not now"})
		}
		for _, i := range j.Rcpt {
			e := fate.Event{State: fate.Relayed, Via: "mx.test [192.0.2.1]:25", Reply: "250 2.0.0 ok"}
			switch s.roll(8) {
			case 0:
				e.State, e.Reply = fate.Bounced, "550 5.1.1 nobody"
			case 1, 2:
				e.State, e.Reply = fate.Deferred, "451 4.3.0 later"
			default:
				s.mu.Lock()
				s.got[ref{j.Message.LSN, i}]++
				s.mu.Unlock()
			}
			r.Outcomes = append(r.Outcomes, Outcome{Event: e, Passed: s.roll(2) == 0})
		}
		if l.pass(ctx, time.Duration(s.roll(1000))*time.Millisecond) != nil {
			s.mu.Lock()
			for k, i := range j.Rcpt {
				if r.Outcomes[k].State == fate.Relayed {
					s.cut[ref{j.Message.LSN, i}]++
				}
			}
			s.mu.Unlock()
			return all(j, Unknown, fate.Event{State: fate.Deferred, Reason: "cut off"})
		}
		return r
	})
}

// fly notes what is under way.
func (s *sink) fly(j Job, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range j.Rcpt {
		s.flight[ref{j.Message.LSN, i}] += by
	}
}

// crash notes the results that have come home but are not in the books.
func (s *sink) crash(b *books) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range s.got {
		if !b.messages[r.lsn].Recipients[r.rcpt].State.Ended() && s.flight[r] == 0 {
			s.cut[r]++
		}
	}
}

// TestSim_crash kills the queue again and again, at any time, among hosts that
// accept, refuse, put off and vanish, with a defect now and then. In the end
// every recipient has ended exactly once (I3), each who bounced was told of
// once, and no message was accepted twice by a host unless a crash cut off
// what became of it.
func TestSim_crash(t *testing.T) {
	for seed := range seeds(t, 25) {
		synctest.Test(t, func(t *testing.T) { crashes(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("seed %d of go test -run TestSim_crash ./internal/spool/queue", seed)
		}
	}
}

func crashes(t *testing.T, seed uint64) {
	s := &sink{rng: rand.New(rand.NewPCG(seed, 1)), got: map[ref]int{}, cut: map[ref]int{}, flight: map[ref]int{}}
	b := newBooks(t)
	for range 2 + s.roll(4) {
		l := b.live()
		_, end := begin(t, l, Options{Workers: 10, Grace: time.Second}, s.carrier(l))
		for range s.roll(40) {
			l.accept(s.message())
			rest(time.Duration(s.roll(2000)) * time.Millisecond)
		}
		rest(time.Duration(s.roll(int(2*time.Hour))) / time.Duration(1+s.roll(1000)))
		if s.roll(4) > 0 {
			s.crash(b)
			close(l.off)
		}
		end()
		s.flight = map[ref]int{}
	}
	l := b.live()
	_, end := begin(t, l, Options{}, s.carrier(l))
	rest(7 * 24 * time.Hour)
	end()
	s.check(t, b)
}

func (s *sink) message() *fate.Message {
	var to []string
	for i := range 1 + s.roll(6) {
		to = append(to, fmt.Sprintf("u%d@d%d.test", i, s.roll(4)))
	}
	m := mail(to...)
	for i := range m.Recipients {
		m.Recipients[i].Notify = []smtp.Notify{0, smtp.NotifyNever, smtp.NotifySuccess | smtp.NotifyFailure, smtp.NotifyDelay}[s.roll(4)]
	}
	return m
}

func (s *sink) check(t *testing.T, b *books) {
	told := map[ref]int{}
	for _, n := range b.notices {
		for _, c := range n.Changes {
			for _, i := range c.Rcpt {
				if c.State == fate.Bounced {
					told[ref{c.LSN, i}]++
				}
			}
		}
	}
	for lsn, m := range b.messages {
		for i, r := range m.Recipients {
			k := ref{lsn, i}
			if !r.State.Ended() {
				t.Errorf("%v is %v", k, r.State)
			}
			want := 0
			if r.State == fate.Bounced && wantsFailure(r.Notify) {
				want = 1
			}
			if told[k] != want {
				t.Errorf("%v is %v with NOTIFY %v: told of %d times", k, r.State, r.Notify, told[k])
			}
			if r.State == fate.Relayed && s.got[k] == 0 {
				t.Errorf("%v is relayed, and nobody has it", k)
			}
			if s.got[k] > 1+s.cut[k] {
				t.Errorf("%v was accepted %d times, cut off %d times; %s", k, s.got[k], s.cut[k], story(r))
			}
		}
	}
}

func story(r fate.Recipient) string {
	var b strings.Builder
	for _, e := range r.Events {
		fmt.Fprintf(&b, "%s %s; ", e.At.Format("15:04:05.000"), e.State)
	}
	return b.String()
}
