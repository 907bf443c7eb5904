package journal

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

var seeds = flag.Int("seeds", 80/sim.Stride(4), "how many histories TestSim_histories plays")
var firstSeed = flag.Uint64("seed", 1, "the first of them")

// story is a fixed history that passes every kind of call: starts, appends,
// new segments, a large body, a compaction, an orderly stop, a second start.
func story(w *world) error {
	if err := w.open(); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return w.append(200) },
		func() error { return w.append(9000) },
		func() error { return w.append(60 << 10) }, // ends the segment
		func() error { return w.append(10) },
		func() error { return w.large(80 << 10) },
		func() error { return w.compact(w.firstLog(), func(l LSN) bool { return l%2 == 0 }) },
		func() error { return w.append(500) },
		func() error { return w.j.Close() },
		w.open,
		func() error { return w.append(70) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// firstLog is the oldest segment that can be compacted.
func (w *world) firstLog() SegmentID {
	for _, s := range w.j.Segments() {
		if s.Kind != KindLarge && !s.Active {
			return s.ID
		}
	}
	return 0
}

// TestCrash_atEveryCall cuts the power at each call of the story.
func TestCrash_atEveryCall(t *testing.T) {
	w := newWorld(t, 0)
	if err := story(w); err != nil {
		t.Fatal(err)
	}
	calls := w.disk.Count()
	w.crash(sim.Lose)
	w.check()
	for n := 1; n <= calls; n += sim.Stride(5) {
		for _, mode := range []sim.Mode{sim.Keep, sim.Lose, sim.Prefix, sim.Reorder, sim.Tear} {
			w := newWorld(t, uint64(n))
			w.disk.CrashAt(n)
			err := story(w)
			if !w.disk.Crashed() {
				t.Fatalf("call %d was not reached", n)
			}
			if !tolerable(err) {
				t.Fatalf("call %d: %v", n, err)
			}
			w.crash(mode)
			w.check()
			w.check() // what recovery did is recovered as well
			w.mustOpen()
			if err := w.append(300); err != nil {
				t.Fatalf("call %d mode %d: append afterwards: %v", n, mode, err)
			}
			w.crash(sim.Any)
			w.check()
		}
	}
}

// TestCrash_inRecovery cuts the power at each call of the recovery from a
// crash with a torn tail.
func TestCrash_inRecovery(t *testing.T) {
	for seed := range uint64(12) {
		for n := 1; ; n++ {
			w := newWorld(t, seed)
			if seed%3 == 0 {
				w.disk.NoDirect()
			}
			w.mustOpen()
			w.group(8)
			w.disk.CrashAt(2) // the sync of the next group
			w.group(8)
			w.crash(sim.Tear)
			w.disk.CrashAt(n)
			err := w.open()
			if !w.disk.Crashed() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			w.crash(sim.Any)
			w.check()
		}
	}
}

// group appends n messages at once.
func (w *world) group(n int) {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = w.rng.IntN(12 << 10)
	}
	var wg sync.WaitGroup
	for _, size := range sizes {
		wg.Go(func() {
			if err := w.append(size); !tolerable(err) {
				w.t.Errorf("seed %d: append: %v", w.seed, err)
			}
		})
	}
	wg.Wait()
}

// TestSim_histories plays random histories with every kind of trouble. A
// failure names its seed: go test -run Sim_histories -seed=N -seeds=1.
func TestSim_histories(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n = 30
	}
	for i := range n {
		history(t, *firstSeed+uint64(i))
	}
}

func history(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	if rng.IntN(5) == 0 {
		w.disk.NoDirect()
	}
	if rng.IntN(3) == 0 {
		w.o.ReserveBytes = 8 << 10
	}
	for range 2 + rng.IntN(3) {
		if err := w.open(); err != nil {
			t.Fatalf("seed %d: open: %v", seed, err)
		}
		w.trouble(rng)
		for range 1 + rng.IntN(6) {
			w.step(rng)
		}
		if rng.IntN(4) == 0 {
			if err := w.j.Close(); !tolerable(err) {
				t.Fatalf("seed %d: close: %v", seed, err)
			}
		}
		w.disk.Full(-1)
		if rng.IntN(4) == 0 {
			// The process dies, starts again, and then the power goes.
			w.crash(sim.Keep)
			w.check()
		}
		w.crash(sim.Mode(rng.IntN(int(sim.Any) + 1)))
		w.check()
	}
}

// trouble orders what will go wrong.
func (w *world) trouble(rng *rand.Rand) {
	switch rng.IntN(6) {
	case 0:
		w.disk.CrashAt(1 + rng.IntN(40))
	case 1:
		op := []string{"write", "sync", "syncdir", "truncate", "rename", "remove", "create"}[rng.IntN(7)]
		w.disk.FailNth(op, 1+rng.IntN(8), syscall.EIO)
	case 2:
		w.disk.Full(int64(rng.IntN(200 << 10)))
	case 3:
		w.disk.FailNth("write", 1+rng.IntN(8), syscall.ENOSPC)
		w.disk.CrashAt(1 + rng.IntN(40))
	}
}

// step does something.
func (w *world) step(rng *rand.Rand) {
	var err error
	switch rng.IntN(8) {
	case 0:
		err = w.large(70<<10 + rng.IntN(100<<10))
	case 1:
		if seg := w.firstLog(); seg != 0 {
			err = w.compact(seg, func(l LSN) bool { return uint64(l)%3 != 0 })
		}
	case 2:
		err = w.append(rng.IntN(100 << 10))
	default:
		w.group(1 + rng.IntN(12))
	}
	if !tolerable(err) && !errors.Is(err, syscall.EIO) {
		w.t.Fatalf("seed %d: %v", w.seed, err)
	}
}
