package journal

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// TestGroup_sharesOneSync holds the first sync until others have queued: all of
// them go with the second one, stamped in LSN order.
func TestGroup_sharesOneSync(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	var stamped []LSN
	entry := func() *Entry {
		return &Entry{Type: TypeBatch, Stamp: func(l LSN) ([]byte, error) {
			stamped = append(stamped, l)
			return fmt.Append(nil, l), nil
		}}
	}
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.disk.Hook(func(op, _ string) {
		if op == "sync" {
			once.Do(func() { close(held); <-release })
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := w.j.Append(t.Context(), entry()); err != nil {
			t.Error(err)
		}
	})
	<-held
	w.disk.ResetCalls()
	for range 20 {
		wg.Go(func() {
			if _, err := w.j.Append(t.Context(), entry()); err != nil {
				t.Error(err)
			}
		})
	}
	for { // until all are queued
		w.j.queue.mu.Lock()
		n := len(w.j.queue.list)
		w.j.queue.mu.Unlock()
		if n == 20 {
			break
		}
	}
	close(release)
	wg.Wait()
	syncs := 0
	for _, c := range w.disk.Calls() {
		if c[:4] == "sync" {
			syncs++
		}
	}
	if syncs != 2 || len(stamped) != 21 || !slices.IsSorted(stamped) {
		t.Fatalf("%d syncs, stamped %v", syncs, stamped)
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestGroup_isBounded(t *testing.T) {
	var q queue
	q.init(100)
	for _, n := range []int64{40, 50, 20, 200, 1} {
		q.put(&request{size: n})
	}
	var sizes []int
	for range 4 {
		sizes = append(sizes, len(q.take(nil)))
	}
	if fmt.Sprint(sizes) != "[2 1 1 1]" {
		t.Fatalf("groups of %v", sizes)
	}
	q.close()
	if got := q.take(nil); len(got) != 0 || q.put(&request{}) {
		t.Fatal("a closed queue takes and gives")
	}
}

// TestGroup_refusedEntryTakesNoLSN: an entry that Stamp refuses concerns no
// other of its group.
func TestGroup_refusedEntryTakesNoLSN(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	no := errors.New("no such mailbox")
	for i := range 6 {
		r, err := w.j.Append(t.Context(), &Entry{Type: TypeBatch, Stamp: func(l LSN) ([]byte, error) {
			if i%2 == 1 {
				return nil, no
			}
			return []byte("fine"), nil
		}, Hint: i})
		switch {
		case i%2 == 1 && !errors.Is(err, no):
			t.Fatalf("entry %d: %v", i, err)
		case i%2 == 0 && (err != nil || int(r.LSN&0xff) != i/2+1 || r.Hint != i):
			t.Fatalf("entry %d: %+v, %v", i, r, err)
		}
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDurable_isToldInOrderBeforeAppendReturns checks the order that readers
// rely on.
func TestDurable_isToldInOrderBeforeAppendReturns(t *testing.T) {
	w := newWorld(t, 1)
	j, err := Open(w.o)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []LSN
	if err := j.Start(func(rs []Record) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range rs {
			told = append(told, r.LSN)
			if r.LSN > j.Durable() {
				t.Error("told before durable")
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if j.Start(nil) == nil {
		t.Error("started twice")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				r, err := j.Append(t.Context(), &Entry{Type: TypeBatch})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if !slices.Contains(told, r.LSN) {
					t.Errorf("%s was answered before it was told", r.LSN)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(told) != 160 || !slices.IsSorted(told) {
		t.Fatalf("told %d, sorted %v", len(told), slices.IsSorted(told))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFiles_areBoundedAndKeptForReaders(t *testing.T) {
	d := sim.NewDisk(1)
	for i := range 5 {
		f, err := d.Open(fmt.Sprint("/f", i), 0o102, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{byte(i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	c := newFiles(d, 2)
	var held []*handle
	for i := range 5 {
		h, err := c.get(SegmentID(i), fmt.Sprint("/f", i))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, h)
	}
	again, err := c.get(0, "/f0")
	if err != nil || again != held[0] {
		t.Fatal("opened twice", err)
	}
	again.release()
	c.drop(4)
	b := make([]byte, 1)
	if _, err := held[4].f.ReadAt(b, 0); err != nil || b[0] != 4 {
		t.Fatalf("a dropped file cannot be read by who has it: %v", err)
	}
	for _, h := range held {
		h.release()
	}
	if len(c.open) != 2 || c.idle.Len() != 2 {
		t.Fatalf("%d open, %d idle", len(c.open), c.idle.Len())
	}
	if _, err := held[4].f.ReadAt(b, 0); err == nil {
		t.Fatal("a dropped file was not closed")
	}
	c.close()
	if len(c.open) != 0 {
		t.Fatal("not closed")
	}
}
