package account

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// TestCrash_atEveryCall cuts the power at every call to the disk during a few
// changes: what was acknowledged is there afterwards, what was not is there
// whole or not at all (I7).
func TestCrash_atEveryCall(t *testing.T) {
	for _, mode := range []sim.Mode{sim.Lose, sim.Tear} {
		for at := 1; ; at++ {
			if crashed := crashAt(t, mode, at); !crashed {
				if at <= 12 { // six changes, each a write and a sync
					t.Fatalf("only %d calls: nothing was tested", at)
				}
				break
			}
		}
	}
}

// crashAt makes changes until the at-th call to the disk fails, and reports
// whether it came to that.
func crashAt(t *testing.T, mode sim.Mode, at int) bool {
	disk := sim.NewDisk(uint64(at))
	h := &host{t: t, disk: disk, clock: sim.NewClock(time.Unix(1790000000, 0)), set: cheap}
	h.start()
	settle(h, "one")
	disk.CrashAt(at)
	app := ""
	steps := []struct {
		do   func() error
		held func() bool
	}{
		{func() error { return h.SetPassword(ctx, addr("one@demo.test"), "newer") },
			func() bool { _, err := h.Login(ctx, "one@demo.test", "newer"); return err == nil }},
		{func() error { return h.AddAlias(ctx, addr("sales@demo.test"), addr("one@demo.test")) },
			func() bool { rs, err := h.Resolve(ctx, addr("sales@demo.test")); return len(rs) == 1 && err == nil }},
		{func() error { _, err := h.AddAccount(ctx, addr("two@demo.test"), "p", Settings{}); return err },
			func() bool { _, err := h.Login(ctx, "two@demo.test", "p"); return err == nil }},
		{func() error { return h.Hold(ctx, 1, "x") },
			func() bool { a, err := h.ByID(ctx, 1); return a.Hold.On() && err == nil }},
		{func() (err error) { app, err = h.AddAppPassword(ctx, addr("one@demo.test"), "x", IMAP); return err },
			func() bool { return app != "" && may(h, IMAP, app) == nil }},
		{func() error { return h.AddGrant(ctx, addr("one@demo.test"), addr("x@example.org")) },
			func() bool { return h.MaySend(1, addr("x@example.org")) }},
	}
	done := 0
	for _, s := range steps {
		if err := s.do(); err != nil {
			break
		}
		done++
	}
	crashed := disk.Crashed()
	h.x.Close()
	h.j.Close()
	if !crashed {
		return false
	}
	disk.Crash(mode)
	h.start()
	defer h.stop()
	for i, s := range steps {
		name := fmt.Sprintf("mode %d, call %d, step %d", mode, at, i)
		held := s.held()
		if i < done && !held {
			t.Errorf("%s: was acknowledged and is lost", name)
		}
		if i > done && held {
			t.Errorf("%s: was never asked for and is there", name)
		}
	}
	_, oldErr := h.Login(ctx, "one@demo.test", "secret")
	_, newErr := h.Login(ctx, "one@demo.test", "newer")
	if (oldErr == nil) == (newErr == nil) {
		t.Errorf("mode %d, call %d: old password: %v, new password: %v", mode, at, oldErr, newErr)
	}
	return true
}

// TestFullDisk: a change is refused as a whole, everything else goes on, and
// it succeeds when there is room again.
func TestFullDisk(t *testing.T) {
	disk := sim.NewDisk(1)
	h := &host{t: t, disk: disk, clock: sim.NewClock(time.Unix(1790000000, 0)), set: cheap}
	h.start()
	defer func() { h.stop() }()
	settle(h, "one")
	disk.Full(0)
	if err := h.SetPassword(ctx, addr("one@demo.test"), "newer"); !errors.Is(err, journal.ErrFull) {
		t.Errorf("set password: %v", err)
	}
	if _, err := h.Login(ctx, "one@demo.test", "secret"); err != nil {
		t.Errorf("login: %v", err)
	}
	if _, err := h.Resolve(ctx, addr("one@demo.test")); err != nil {
		t.Errorf("resolve: %v", err)
	}
	disk.Full(-1)
	must(t, h.SetPassword(ctx, addr("one@demo.test"), "newer"))
	h.restart()
	if _, err := h.Login(ctx, "one@demo.test", "newer"); err != nil {
		t.Errorf("login after restart: %v", err)
	}
}
