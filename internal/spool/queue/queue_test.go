package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// says gives a carrier that says the same of everything, after a while.
func says(after time.Duration, h Health, e fate.Event) Carrier {
	return carrier(func(ctx context.Context, j Job) Result {
		select {
		case <-ctx.Done():
			return all(j, Unknown, fate.Event{State: fate.Deferred})
		case <-time.After(after):
			return all(j, h, e)
		}
	})
}

func relayed() fate.Event { return fate.Event{State: fate.Relayed, Reply: "250 2.0.0 ok"} }

// wantState checks where a recipient stands.
func wantState(t *testing.T, l *life, lsn journal.LSN, i int, want fate.State) fate.Recipient {
	t.Helper()
	synctest.Wait()
	r := l.state(lsn, i)
	if r.State != want {
		t.Fatalf("recipient %d of %d is %v (%s), want %v", i, lsn, r.State, r.Last.Reason, want)
	}
	return r
}

// TestQueue_sharesRecords: what ends while a record is written goes into one.
func TestQueue_sharesRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		l.slow = 10 * time.Millisecond
		q, end := begin(t, l, Options{PerDestination: 50}, says(5*time.Millisecond, Up, relayed()))
		for range 2000 {
			l.accept(mail("a@example.org"))
		}
		time.Sleep(5 * time.Second)
		if b := q.Backlog(); b.Total.Queued+b.Total.Active != 0 {
			t.Fatalf("not all are gone: %+v", b.Total)
		}
		end()
		if l.commits > 2000/10 {
			t.Errorf("%d records for %d messages", l.commits, 2000)
		}
		t.Logf("%d records for 2000 messages to one destination", l.commits)
	})
}

// TestQueue_oneJobForOneMessage: recipients of one destination go together, up
// to a hundred of them.
func TestQueue_oneJobForOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		var sizes []int
		_, end := begin(t, l, Options{PerDestination: 1}, carrier(func(_ context.Context, j Job) Result {
			sizes = append(sizes, len(j.Rcpt))
			return all(j, Up, relayed())
		}))
		var to []string
		for i := range 250 {
			to = append(to, fmt.Sprintf("u%d@example.org", i))
		}
		lsn := l.accept(mail(to...))
		time.Sleep(time.Second)
		end()
		if fmt.Sprint(sizes) != "[100 100 50]" {
			t.Errorf("jobs of %v", sizes)
		}
		wantState(t, l, lsn, 249, fate.Relayed)
	})
}

// TestQueue_readsWhileAccepting: what is accepted while the queue is read is
// taken once, whether or not it is read as well.
func TestQueue_readsWhileAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		for range 3000 {
			l.accept(mail("a@example.org"))
		}
		var tries atomic.Int64
		q := New(Options{Hostname: "mail.demo.test"}, slowOpen{l}, carrier(func(_ context.Context, j Job) Result {
			tries.Add(1)
			return all(j, Up, relayed())
		}), l)
		l.update = q.Update
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- q.Run(ctx) }()
		time.Sleep(time.Second)
		if _, err := q.List(ctx, Selection{All: true}, 1); !errors.Is(err, ErrLoading) {
			t.Errorf("List while reading: %v", err)
		}
		time.Sleep(2 * time.Second)
		for range 100 {
			l.accept(mail("b@example.org"))
		}
		if tries.Load() == 0 {
			t.Error("nothing is tried while the queue is read")
		}
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := tries.Load(); n != 3100 {
			t.Errorf("%d attempts for 3100 messages", n)
		}
	})
}

// slowOpen takes a second for each thousand.
type slowOpen struct{ *life }

func (s slowOpen) Open(ctx context.Context, fn func(fate.Open) error) error {
	n := 0
	return s.life.Open(ctx, func(o fate.Open) error {
		if n++; n%1000 == 0 {
			rest(2 * time.Second)
		}
		return fn(o)
	})
}

func TestQueue_cannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(Options{}, brokenOpen{newBooks(t).live()}, says(0, Up, relayed()), nil)
		if err := q.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no such table") {
			t.Errorf("Run: %v", err)
		}
	})
}

type brokenOpen struct{ *life }

func (brokenOpen) Open(context.Context, func(fate.Open) error) error {
	return errors.New("no such table")
}

// TestQueue_journalFull: while nothing can be made durable nothing new is
// begun, and what is done is not done again.
func TestQueue_journalFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		var full atomic.Bool
		full.Store(true)
		l.refuse = func([]fate.Change) error {
			if full.Load() {
				return errors.New("no room")
			}
			return nil
		}
		var tries atomic.Int64
		_, end := begin(t, l, Options{}, carrier(func(_ context.Context, j Job) Result {
			tries.Add(1)
			time.Sleep(100 * time.Millisecond)
			return all(j, Up, relayed())
		}))
		for i := range 200 {
			l.accept(mail(fmt.Sprintf("a@d%d.test", i%50)))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		begun := tries.Load()
		if begun > 60 {
			t.Errorf("%d attempts while nothing could be saved", begun)
		}
		full.Store(false)
		time.Sleep(5 * time.Minute)
		end()
		if n := tries.Load(); n != 200 {
			t.Errorf("%d attempts for 200 messages", n)
		}
		for lsn := range journal.LSN(200) {
			wantState(t, l, lsn+1, 0, fate.Relayed)
		}
	})
}

// TestQueue_refusedChange: a change that is refused for what it says keeps no
// other from being saved.
func TestQueue_refusedChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		l.refuse = func(cs []fate.Change) error {
			for _, c := range cs {
				if c.LSN == 7 || c.LSN == 8 {
					return errors.New("this one not")
				}
			}
			return nil
		}
		_, end := begin(t, l, Options{}, says(time.Second, Up, relayed()))
		for range 100 {
			l.accept(mail("a@example.org"))
		}
		time.Sleep(10 * time.Minute)
		for lsn := range journal.LSN(100) {
			if lsn++; lsn != 7 && lsn != 8 {
				wantState(t, l, lsn, 0, fate.Relayed)
			}
		}
		end()
	})
}

func TestQueue_panicOfCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		n := 0
		reg := prometheus.NewRegistry()
		_, end := begin(t, l, Options{Metrics: NewMetrics(reg)}, carrier(func(_ context.Context, j Job) Result {
			if n++; n == 1 {
				panic("a defect")
			}
			if n == 2 {
				return Result{Health: Up, Outcomes: make([]Outcome, 7)}
			}
			return all(j, Up, relayed())
		}))
		lsn := l.accept(mail("a@example.org"))
		time.Sleep(time.Minute)
		if r := wantState(t, l, lsn, 0, fate.Deferred); r.Attempts != 1 || r.Last.Reason == "" {
			t.Errorf("after a panic: %+v", r.Standing)
		}
		time.Sleep(time.Hour)
		wantState(t, l, lsn, 0, fate.Relayed)
		end()
		ms, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			if m.GetName() == "breakwater_queue_panics_total" && m.Metric[0].GetCounter().GetValue() != 1 {
				t.Errorf("panics: %v", m.Metric[0])
			}
		}
	})
}

// TestQueue_endsGracefully: what is being tried may end; what takes too long
// is as if it had not been tried.
func TestQueue_endsGracefully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		_, end := begin(t, l, Options{Grace: 10 * time.Second}, carrier(func(ctx context.Context, j Job) Result {
			d := 5 * time.Second
			if j.Destination == "slow.test" {
				d = time.Hour
			}
			return says(d, Up, relayed()).Carry(ctx, j)
		}))
		fast, slow := l.accept(mail("a@fast.test")), l.accept(mail("a@slow.test"))
		time.Sleep(time.Second)
		began := time.Now()
		end()
		if d := time.Since(began); d > 11*time.Second {
			t.Errorf("it took %v to end", d)
		}
		wantState(t, l, fast, 0, fate.Relayed)
		if r := wantState(t, l, slow, 0, fate.Queued); r.Attempts != 0 || len(r.Events) != 0 {
			t.Errorf("an attempt that was broken off left %+v", r.Standing)
		}
	})
}

func TestQueue_room(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		q, end := begin(t, l, Options{Max: 3}, says(time.Minute, Up, relayed()))
		l.accept(mail("a@x.test", "b@x.test"))
		synctest.Wait()
		if err := q.Room(); err != nil {
			t.Errorf("with two of three: %v", err)
		}
		l.accept(mail("a@x.test"))
		synctest.Wait()
		if err := q.Room(); !errors.Is(err, ErrFull) {
			t.Errorf("with three of three: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := q.Room(); err != nil {
			t.Errorf("when they are gone: %v", err)
		}
		end()
	})
}

// TestQueue_schedule: retries follow the schedule, after a restart from half an
// hour on.
func TestQueue_schedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		var at []time.Time
		c := carrier(func(_ context.Context, j Job) Result {
			at = append(at, time.Now())
			return all(j, Up, fate.Event{State: fate.Deferred, Reply: "451 4.2.2 full"})
		})
		l := b.live()
		_, end := begin(t, l, Options{}, c)
		l.accept(mail("a@example.org"))
		time.Sleep(40 * time.Minute)
		end()
		l = b.live()
		_, end = begin(t, l, Options{}, c)
		time.Sleep(12 * time.Hour)
		end()
		want := slices.Insert(append(schedule(), 4*time.Hour), 3, 30*time.Minute) // once more after the restart
		for i := range at[:len(at)-1] {
			gap := at[i+1].Sub(at[i])
			if gap < want[i] || gap > want[i]*9/8+2*time.Second {
				t.Errorf("attempt %d came %v after the one before, want about %v", i+2, gap, want[i])
			}
		}
		if len(at) < 8 {
			t.Errorf("%d attempts", len(at))
		}
	})
}

// TestQueue_missingMessage: what cannot be loaded is neither tried nor
// forgotten.
func TestQueue_missingMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		q, end := begin(t, l, Options{}, says(0, Up, relayed()))
		lsn := l.accept(mail("a@example.org"))
		l.mu.Lock()
		m := l.messages[lsn]
		delete(l.messages, lsn)
		l.mu.Unlock()
		time.Sleep(30 * time.Minute)
		if ok, err := q.Contains(lsn, 0); !ok || err != nil {
			t.Errorf("forgotten: %v", err)
		}
		l.mu.Lock()
		l.messages[lsn] = m
		l.mu.Unlock()
		time.Sleep(2 * time.Hour)
		wantState(t, l, lsn, 0, fate.Relayed)
		end()
	})
}

// TestQueue_durableBeforeTheNext: a place at a destination is taken until what
// came of the attempt is durable, so that a crash repeats no more than that.
func TestQueue_durableBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		l.slow = 10 * time.Second
		var at []time.Time
		_, end := begin(t, l, Options{PerDestination: 1}, carrier(func(_ context.Context, j Job) Result {
			for lsn := journal.LSN(1); lsn < j.Message.LSN; lsn++ {
				if s := l.state(lsn, 0).State; s != fate.Relayed {
					t.Errorf("message %d is begun while %d is %v", j.Message.LSN, lsn, s)
				}
			}
			at = append(at, time.Now())
			return all(j, Up, relayed())
		}))
		for range 5 {
			l.accept(mail("a@example.org"))
		}
		time.Sleep(time.Hour)
		end()
		for i := range at[1:] {
			if d := at[i+1].Sub(at[i]); d < l.slow {
				t.Errorf("the next attempt came %v after the one before", d)
			}
		}
	})
}
