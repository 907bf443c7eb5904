package mailbox_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"

	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

var (
	seeds = flag.Int("seeds", env("SEEDS", 40/sim.Stride(4)), "how many histories TestSim_histories plays")
	seed  = flag.Int("seed", env("SEED", 1), "the first seed")
)

func env(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}

// dice makes choices by a seed.
type dice struct{ *rand.Rand }

// IntN implements mailboxtest.Source.
func (d dice) IntN(_ string, n int) int { return d.Rand.IntN(n) }

// history is one life of a store, with crashes.
type history struct {
	*world
	disk *sim.Disk
	dice dice
	m    *mailboxtest.Model
	g    *mailboxtest.Generator
}

func newHistory(seed uint64, dir string) *history {
	d := dice{rand.New(rand.NewPCG(seed, 2))}
	h := &history{disk: sim.NewDisk(seed), dice: d, m: mailboxtest.NewModel(), g: mailboxtest.NewGenerator(d)}
	h.world = &world{disk: h.disk, clock: sim.NewClock(time.Unix(1.7e9, 0)), segment: []int64{8 << 10, 64 << 10, 1 << 20}[d.Rand.IntN(3)]}
	h.options.Retention = []time.Duration{-1, 48 * time.Hour}[d.Rand.IntN(2)]
	if d.Rand.IntN(2) == 0 {
		h.path = filepath.Join(dir, fmt.Sprintf("index%d.db", seed))
	}
	return h
}

// isFault tells errors of the disk from answers.
func isFault(err error) bool {
	for _, e := range []error{journal.ErrFailed, journal.ErrFull, journal.ErrClosed, sim.ErrCrashed, errDisk, index.ErrBehind} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

var errDisk = errors.New("the disk fails")

// TestSim_histories plays random lives of a store on a disk that crashes,
// fails and fills. After each crash the store has exactly what was
// acknowledged, and the operation that was cut short wholly or not at all (I1,
// I2, I6, I7). A failure names its seed: go test -run Sim_histories -seed=N
// -seeds=1.
func TestSim_histories(t *testing.T) {
	dir := t.TempDir()
	for n := range *seeds {
		seed := *seed + n
		if err := newHistory(uint64(seed), dir).play(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func (h *history) play() error {
	if err := h.open(); err != nil {
		return fmt.Errorf("first open: %w", err)
	}
	for range 2 + h.dice.Rand.IntN(3) {
		doubt, err := h.live(1 + h.dice.Rand.IntN(30))
		if err != nil {
			return err
		}
		if err := h.crash(doubt); err != nil {
			return err
		}
	}
	wrong, err := h.Verify()
	if err != nil || len(wrong) > 0 {
		return fmt.Errorf("verify found %s, %w", strings.Join(wrong, "\n"), err)
	}
	return h.world.close()
}

// arm plans what will happen to the disk.
func (h *history) arm() {
	n := 1 + h.dice.Rand.IntN(80)
	switch h.dice.Rand.IntN(8) {
	case 0, 1, 2, 3:
		h.disk.CrashAt(n)
	case 4:
		h.disk.FailNth("sync", n, errDisk)
	case 5:
		h.disk.FailNth("write", n, errDisk)
	case 6:
		h.disk.Full(int64(h.dice.Rand.IntN(200_000)))
	}
}

// live does steps until one is cut short, which it returns.
func (h *history) live(steps int) (doubt *mailboxtest.Step, err error) {
	h.arm()
	for range steps {
		if h.dice.Rand.IntN(12) == 0 {
			if err := h.Compact(); err != nil && !isFault(err) {
				return nil, fmt.Errorf("compact: %w", err)
			} else if err != nil {
				return nil, nil
			}
		}
		st := h.g.Next(h.m)
		if strings.Contains(st.Name, "INBOX to") { // not one step, see Rename
			continue
		}
		got, err := st.Store(context.Background(), h.s)
		if errors.Is(err, journal.ErrFull) { // refused, and that is all
			h.disk.Full(-1)
			continue
		}
		if isFault(err) {
			return &st, nil
		}
		want, wantErr := st.Model(h.m)
		if err := mailboxtest.Alike(got, err, want, wantErr); err != nil {
			return nil, fmt.Errorf("%s: %w", st.Name, err)
		}
		if err := h.m.Adopt(context.Background(), h.s); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// crash cuts the power, or kills the process, and starts the store again.
func (h *history) crash(doubt *mailboxtest.Step) error {
	_ = h.world.close() // it fails where the disk does
	mode := []sim.Mode{sim.Keep, sim.Any, sim.Any}[h.dice.Rand.IntN(3)]
	h.disk.Crash(mode)
	h.disk.Full(-1)
	if err := h.upset(); err != nil {
		return err
	}
	h.clock.Advance(time.Hour)
	if err := h.open(); err != nil {
		return fmt.Errorf("open after crash %d: %w", mode, err)
	}
	without := h.m.Clone()
	err := without.Compare(context.Background(), h.s, h.dice)
	if err == nil {
		h.m = without
		return nil
	}
	if doubt == nil {
		return fmt.Errorf("after crash %d: %w", mode, err)
	}
	with := h.m.Clone()
	_, _ = doubt.Model(with)
	if err2 := with.Compare(context.Background(), h.s, h.dice); err2 != nil {
		return fmt.Errorf("after crash %d in %s: neither without it: %w, nor with it: %w", mode, doubt.Name, err, err2)
	}
	h.m = with
	return nil
}

// upset does to the index what a crash or a person may do to it.
func (h *history) upset() error {
	if h.path == "" {
		return nil
	}
	saved := h.path + ".saved"
	switch h.dice.Rand.IntN(5) {
	case 0:
		return index.Remove(h.path)
	case 1:
		return copyFile(h.path, saved)
	case 2:
		if _, err := os.Stat(saved); err != nil {
			return nil
		}
		return errors.Join(index.Remove(h.path), copyFile(saved, h.path))
	}
	return nil
}

// atEveryCall does something once for each call to the disk that it makes, and
// cuts the power there.
func atEveryCall(t *testing.T, prepare func(*history) error, act func(*history) (*mailboxtest.Step, error)) {
	dir := t.TempDir()
	modes := []sim.Mode{sim.Tear}
	if *seeds >= 1000 { // make sim
		modes = []sim.Mode{sim.Lose, sim.Prefix, sim.Reorder, sim.Tear}
	}
	for _, mode := range modes {
		for at := 1; ; at += sim.Stride(4) {
			h := newHistory(uint64(at), dir)
			must(t, h.open())
			must(t, prepare(h))
			h.disk.CrashAt(at)
			doubt, err := act(h)
			crashed := h.disk.Crashed()
			if err != nil && !crashed {
				t.Fatalf("mode %d, call %d: %v", mode, at, err)
			}
			_ = h.world.close()
			h.disk.Crash(mode)
			must(t, h.open())
			if err := h.either(doubt, err == nil); err != nil {
				t.Fatalf("mode %d, call %d: %v", mode, at, err)
			}
			wrong, err := h.Verify()
			if err != nil || len(wrong) > 0 {
				t.Fatalf("mode %d, call %d: verify found %v, %v", mode, at, wrong, err)
			}
			must(t, h.Compact()) // what was cut short can be done again
			must(t, h.m.Compare(context.Background(), h.s, h.dice))
			must(t, h.world.close())
			if !crashed {
				if at < 3 {
					t.Fatalf("only %d calls: nothing was tested", at)
				}
				break
			}
		}
	}
}

// either sees whether the store is as it was before a step or after; only the
// latter will do if it was acknowledged.
func (h *history) either(st *mailboxtest.Step, acknowledged bool) error {
	after := h.m.Clone()
	if st != nil {
		if _, err := st.Model(after); err != nil {
			return err
		}
	}
	err := after.Compare(context.Background(), h.s, h.dice)
	if err != nil && !acknowledged {
		err = h.m.Compare(context.Background(), h.s, h.dice)
		return err
	}
	h.m = after
	return err
}

// do does a step to both sides.
func (h *history) do(st mailboxtest.Step) error {
	got, err := st.Store(context.Background(), h.s)
	want, wantErr := st.Model(h.m)
	return errors.Join(mailboxtest.Alike(got, err, want, wantErr), h.m.Compare(context.Background(), h.s, h.dice))
}

// furnish makes mailboxes with messages, some of them gone again.
func furnish(h *history) error {
	for _, st := range mailboxtest.Furniture() {
		if err := h.do(st(h.m)); err != nil {
			return err
		}
	}
	return h.Restart(mailboxtest.Keep) // which ends the segment
}

func TestSim_crashAtEveryCall(t *testing.T) {
	for name, make := range map[string]func(*mailboxtest.Model) mailboxtest.Step{
		"accept":      mailboxtest.Accept,
		"flag change": mailboxtest.FlagChange,
		"append two":  mailboxtest.AppendTwo,
		"move":        mailboxtest.MoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			atEveryCall(t, furnish, func(h *history) (*mailboxtest.Step, error) {
				st := make(h.m)
				_, err := st.Store(context.Background(), h.s)
				return &st, err
			})
		})
	}
	t.Run("compaction", func(t *testing.T) {
		atEveryCall(t, furnish, func(h *history) (*mailboxtest.Step, error) { return nil, h.Compact() })
	})
}
