package fate_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// step is something that is acknowledged. held tells whether it has happened;
// with mark set it cannot have otherwise.
type step struct {
	do   func() error
	held func() bool
	mark bool
}

// steps are a message's life in a store that compacts and purges meanwhile.
func (w *world) steps() []step {
	old, a, d := w.message("old", 1), w.message("A", 2), w.message("D", 1)
	purged := false
	state := func(id string, n int, want ...fate.State) func() bool {
		return func() bool {
			m, err := w.s.ByID(background, id)
			return err == nil && slices.Contains(want, m.Recipients[n].State)
		}
	}
	always := func() bool { return true }
	return []step{
		{do: func() error { return w.deliver(old, nil) }, held: func() bool {
			_, err := w.s.ByID(background, "old")
			return err == nil || purged
		}},
		{do: func() error {
			return w.s.Commit(background, fate.Change{LSN: old.LSN, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed}})
		}, held: func() bool { return purged || state("old", 0, fate.Relayed)() }},
		{do: func() error {
			w.clock.Advance(90 * 24 * time.Hour)
			a.Received, d.Received = w.clock.Now().UTC(), w.clock.Now().UTC()
			return w.deliver(a, nil)
		}, held: state("A", 0, fate.Queued, fate.Deferred, fate.Relayed), mark: true},
		{do: func() error {
			return w.s.Commit(background, fate.Change{LSN: a.LSN, Rcpt: []int{0, 1}, Event: fate.Event{State: fate.Deferred}})
		}, held: state("A", 1, fate.Deferred, fate.Bounced), mark: true},
		{do: func() error { return w.restart(false) }, held: always},
		{do: func() error { _, err := w.m.CompactFully(background); return err }, held: always},
		{do: func() error {
			return w.s.Commit(background, fate.Change{LSN: a.LSN, Rcpt: []int{0}, Event: fate.Event{State: fate.Relayed}})
		}, held: state("A", 0, fate.Relayed), mark: true},
		{do: func() error { // two facts, one record
			return w.deliver(d, nil, fate.Change{LSN: a.LSN, Rcpt: []int{1}, Event: fate.Event{State: fate.Bounced, DSN: "D"}})
		}, held: func() bool { return state("A", 1, fate.Bounced)() && state("D", 0, fate.Queued)() }, mark: true},
		{do: func() error { purged = true; _, err := w.s.Purge(background); return err }, held: always},
		{do: func() error { return w.restart(false) }, held: always},
		{do: func() error { _, err := w.m.CompactFully(background); return err }, held: always},
	}
}

// TestCrash_atEveryCall cuts the power at every call to the disk during a
// message's life: what was acknowledged is there afterwards, what was not is
// there whole or not at all, and every index is rebuilt to the same (I1, I6,
// I7).
func TestCrash_atEveryCall(t *testing.T) {
	for _, mode := range []sim.Mode{sim.Lose, sim.Tear} {
		for _, memory := range []bool{true, false} {
			step := 1
			if !memory {
				step = 3 // SQLite's own files take most of the time, and are not on this disk
			}
			step *= sim.Stride(20)
			for at := 1; ; at += step {
				crashed, err := crashAt(t, mode, memory, at)
				if err != nil {
					t.Fatalf("mode %d, call %d, index in memory %v: %v", mode, at, memory, err)
				}
				if !crashed {
					if at < 40 {
						t.Fatalf("only %d calls: nothing was tested", at)
					}
					break
				}
			}
		}
	}
}

func crashAt(t *testing.T, mode sim.Mode, memory bool, at int) (crashed bool, err error) {
	disk := sim.NewDisk(uint64(at))
	w := &world{disk: disk, clock: sim.NewClock(time.Unix(1.7e9, 0)), retention: 24 * time.Hour}
	if !memory {
		w.path = filepath.Join(t.TempDir(), "index.db")
	}
	if err := w.start(); err != nil {
		return false, err
	}
	disk.CrashAt(at)
	all := w.steps()
	done := 0
	for done < len(all) && all[done].do() == nil {
		done++
	}
	crashed = disk.Crashed()
	if w.x != nil {
		w.x.Close() // errors are what this is about
	}
	if w.j != nil {
		w.j.Close()
	}
	if !crashed {
		return false, nil
	}
	disk.Crash(mode)
	if err := w.start(); err != nil {
		return true, fmt.Errorf("start after step %d: %w", done, err)
	}
	defer w.stop()
	for i, s := range all {
		held := s.held()
		if i < done && !held {
			return true, fmt.Errorf("step %d was acknowledged and is lost", i)
		}
		if i > done && held && s.mark {
			return true, fmt.Errorf("step %d was never asked for and has happened", i)
		}
	}
	if a, errA := w.s.ByID(background, "A"); errA == nil {
		_, errD := w.s.ByID(background, "D")
		if bounced := a.Recipients[1].State == fate.Bounced; bounced != (errD == nil) {
			return true, fmt.Errorf("bounced is %v, and of the DSN: %v", bounced, errD)
		}
		if _, err := w.body(a.LSN); err != nil {
			return true, fmt.Errorf("body: %w", err)
		}
	}
	sums, err := w.s.Sums(background, fate.Period{})
	if err != nil || len(sums.Unaccounted) > 0 {
		return true, fmt.Errorf("unaccounted: %q, %w", sums.Unaccounted, err)
	}
	if w.path == "" {
		return true, w.sound()
	}
	return true, w.same()
}

// sound checks that verify finds nothing.
func (w *world) sound() error {
	all, err := w.findings()
	if err == nil && len(all) > 0 {
		err = fmt.Errorf("verify found %q", all)
	}
	return err
}
