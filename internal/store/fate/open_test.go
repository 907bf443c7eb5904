package fate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Whoever reads Open while recipients come, change and end is never told what
// was, after what is: in the end it knows just those that are open.
func TestOpen_besideChanges(t *testing.T) {
	w := newWorld(t, 0)
	const old, young = 400, 50
	for i := range old {
		must(t, w.deliver(w.message(fmt.Sprint("A", i), 2), nil))
	}
	w.settled(t)
	last := w.j.Durable()
	w.mu.Lock()
	clear(w.open)
	w.mu.Unlock()
	var wg sync.WaitGroup
	relay := func(lsn journal.LSN) error {
		return w.s.Commit(background, fate.Change{LSN: lsn, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed}},
			fate.Change{LSN: lsn, Rcpt: []int{1}, Event: fate.Event{State: fate.Deferred}})
	}
	wg.Go(func() { // changes from the end, towards the reader
		for lsn := last; lsn > last-old; lsn-- {
			if err := relay(lsn); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range young {
			m := w.message("B", 2)
			if err := errors.Join(w.deliver(m, nil), relay(m.LSN)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		err := w.s.Open(background, func(o fate.Open) error {
			w.update([]fate.Update{{Open: o}})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	w.settled(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	want := make(map[place]fate.Open)
	must(t, w.s.Open(background, func(o fate.Open) error {
		want[place{o.LSN, o.Rcpt}] = o
		return nil
	}))
	if d := cmp.Diff(want, w.open); d != "" {
		t.Errorf("the tables and who was told differ: %s", d)
	}
}

// settled waits until all that is durable is in the tables and has been told.
func (w *world) settled(t *testing.T) {
	t.Helper()
	must(t, w.x.Wait(background, w.j.Durable()))
}

// An error of fn ends Open, and is returned.
func TestOpen_error(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.deliver(w.message("A", 3), nil))
	w.settled(t)
	enough, n := errors.New("enough"), 0
	err := w.s.Open(background, func(fate.Open) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
}

// Before it has its index a store answers with a fault.
func TestStore_detached(t *testing.T) {
	s := fate.New(fate.Options{})
	_, loadErr := s.Load(background, 1)
	_, idErr := s.ByID(background, "A")
	_, sumsErr := s.Sums(background, fate.Period{})
	_, purgeErr := s.Purge(background)
	for _, err := range []error{loadErr, idErr, sumsErr, purgeErr, s.Open(background, nil), s.Trace(background, fate.Find{}, nil),
		s.Commit(background, fate.Change{LSN: 1, Rcpt: []int{0}})} {
		if err == nil || errors.Is(err, fate.ErrNoSuchMessage) {
			t.Errorf("answered %v", err)
		}
	}
}

// Run purges every hour.
func TestRun_purges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{disk: sim.NewDisk(1), clock: sim.NewClock(time.Unix(1.7e9, 0))}
		must(t, w.start())
		m := w.message("A", 1)
		m.Recipients[0].State = fate.Delivered
		must(t, w.deliver(m, nil))
		ctx, cancel := context.WithCancel(background)
		done := make(chan error)
		go func() { done <- w.s.Run(ctx) }()
		synctest.Wait()
		w.clock.Advance(61 * 24 * time.Hour)
		synctest.Wait()
		if _, err := w.s.Load(background, m.LSN); !errors.Is(err, fate.ErrNoSuchMessage) {
			t.Errorf("load: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		must(t, w.stop())
	})
}
