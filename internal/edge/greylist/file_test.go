package greylist

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// busy is a table with something of everything.
func busy(t testing.TB, fs *sim.Disk) *Table {
	t.Helper()
	tab, to := open(t, fs, on()), message.Address{Local: "one", Domain: "demo.test"}
	for i, s := range []Sender{
		from("192.0.2.10", "good.example.org", "example.org", "spf:example.org"),
		from("192.0.2.20", "twice\x1b[31m.example.net", "example.net", ""),
		from("2001:db8::1", "[IPv6:2001:db8::1]", "", ""),
		from("198.51.100.1", strings.Repeat("é", 100), "waits.example", ""),
	} {
		tab.Check(s, to, start().Add(time.Duration(i)*time.Hour))
		if i == 0 {
			later := start().Add(7 * time.Minute)
			tab.Check(s, message.Address{Local: "two", Domain: "demo.test"}, start())
			tab.Check(s, to, later)
			tab.Accepted(s, later)
		}
		if i == 1 {
			tab.Check(s, to, start().Add(2*time.Hour))
		}
	}
	tab.Check(from("203.0.113.1", "new.example", "new.example", ""), to, start().Add(51*time.Hour))
	return tab
}

func TestFile_readBack(t *testing.T) {
	disk := newDisk(t)
	tab := busy(t, disk)
	if err := tab.Close(); err != nil {
		t.Fatal(err)
	}
	again, now := open(t, disk, on()), start().Add(51*time.Hour)
	if got, want := again.encode(), tab.encode(); !bytes.Equal(got, want) {
		t.Errorf("read back: %d octets that differ from the %d written", len(got), len(want))
	}
	if got, want := again.Report(now), tab.Report(now); !reflect.DeepEqual(got, want) {
		t.Errorf("report after a restart = %+v, want %+v", got, want)
	}
	if !again.Known(from("203.0.113.9", "x", "example.org", "spf:example.org"), now) {
		t.Error("a pool that passed is not known after a restart")
	}
	// Nothing changed: nothing is written.
	disk.ResetCalls()
	if err := again.Close(); err != nil || disk.Count() != 0 {
		t.Errorf("closing an unchanged table: %v, calls %v", err, disk.Calls())
	}
}

// A crash at any call of the file system leaves the old memory or the new one.
func TestFile_crashAnywhere(t *testing.T) {
	to := message.Address{Local: "one", Domain: "demo.test"}
	first, second := from("192.0.2.10", "a.example", "a.example", ""), from("198.51.100.1", "b.example", "b.example", "")
	for _, mode := range []sim.Mode{sim.Keep, sim.Lose, sim.Prefix, sim.Reorder, sim.Tear} {
		for n := 1; ; n++ {
			disk := newDisk(t)
			tab := open(t, disk, on())
			tab.Accepted(first, start())
			if err := tab.save(); err != nil {
				t.Fatal(err)
			}
			disk.ResetCalls()
			disk.CrashAt(n)
			tab.Accepted(second, start())
			tab.Check(second, to, start())
			err := tab.save()
			if !disk.Crashed() {
				if err != nil || n < 5 {
					t.Fatalf("save without a crash took %d calls, %v", n, err)
				}
				break
			}
			if err == nil {
				t.Fatalf("crash at call %d: no error", n)
			}
			disk.Crash(mode)
			log, text := logged()
			o := on()
			o.Log = log
			again := open(t, disk, o)
			if !again.Known(first, start()) || text.Len() > 0 {
				t.Errorf("mode %v, crash at call %d: the old memory is gone: %s", mode, n, text)
			}
		}
	}
}

func put(t testing.TB, fs sys.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Open(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A damaged or foreign file is set aside, logged, and begun anew.
func TestFile_damagedOrForeign(t *testing.T) {
	whole := busy(t, nil).encode()
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	newer := slices.Clone(whole)
	newer[len(magic)] = 2
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"empty":         {nil, "does not begin like one"},
		"a bit flipped": {flipped, "checksum"},
		"cut short":     {whole[:len(whole)-7], "checksum"},
		"newer":         {newer, "version 2, not 1"},
		"something else": {
			[]byte("SQLite format 3\x00 and so on, for long enough to be one"), "does not begin like one",
		},
	} {
		disk := newDisk(t)
		put(t, disk, "/data/greylist", tt.file)
		log, text := logged()
		o := on()
		o.Log = log
		tab := open(t, disk, o)
		if !strings.Contains(text.String(), tt.want) || !strings.Contains(text.String(), "level=ERROR") {
			t.Errorf("%s: log is %q, want an error with %q", name, text, tt.want)
		}
		if n := tab.known.count.Load(); n != 0 || tab.queue.count != 0 {
			t.Errorf("%s: %d known, %d waiting; want none", name, n, tab.queue.count)
		}
		if _, err := disk.Stat("/data/greylist.aside"); err != nil {
			t.Errorf("%s: the file was not set aside: %v", name, err)
		}
		tab.Accepted(from("192.0.2.1", "a.example", "a.example", ""), start())
		if err := tab.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A disk that fails is logged and tried again.
func TestRun_savesEveryFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t)
		log, text := logged()
		o := on()
		o.Clock, o.Log = sys.RealClock(), log
		tab := open(t, disk, o)
		s := from("192.0.2.10", "a.example", "a.example", "")
		tab.Accepted(s, time.Now())
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- tab.Run(ctx) }()
		disk.FailNth("sync", 1, errors.New("no"))
		time.Sleep(saveEvery + time.Second)
		synctest.Wait()
		if _, err := disk.Stat("/data/greylist"); err == nil || !strings.Contains(text.String(), "save the greylist") {
			t.Errorf("after a failure: stat %v, log %q", err, text)
		}
		time.Sleep(saveEvery)
		synctest.Wait()
		if !open(t, disk, on()).Known(s, time.Now()) {
			t.Error("after another while: not saved")
		}
		// What has expired goes, and what waited in vain is counted.
		tab.Check(from("198.51.100.1", "b.example", "b.example", ""), message.Address{}, time.Now())
		time.Sleep(61 * 24 * time.Hour)
		synctest.Wait()
		if tab.known.count.Load() != 0 || tab.queue.count != 0 || len(tab.tally.missing) != 1 {
			t.Errorf("after 61 days: %d known, %d waiting, %d missing", tab.known.count.Load(), tab.queue.count, len(tab.tally.missing))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(busy(f, nil).encode())
	f.Add(newEncoder(secret{}, nil).finish())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > headLen { // let the fuzzer past the checksum
			b = (&encoder{slices.Clone(b)}).finish()
		}
		s, err := decode(b)
		if err != nil {
			if !errors.Is(err, errFormat) {
				t.Fatal(err)
			}
			return
		}
		again := s.encode()
		s2, err := decode(again)
		if err != nil || !reflect.DeepEqual(s, s2) {
			t.Fatalf("written and read again: %v\n%+v\n%+v", err, s, s2)
		}
		if len(again) > len(b) {
			t.Fatal("grew")
		}
		disk := newDisk(t)
		put(t, disk, "/data/greylist", b)
		tab := open(t, disk, Options{Enabled: true, MaxWaiting: 3})
		if tab.queue.count > 3 {
			t.Fatal("more waiting than the bound")
		}
		_ = tab.Report(start()).Text()
		tab.Check(from("192.0.2.10", "a.example", "a.example", ""), message.Address{}, start())
	})
}

func (s snapshot) encode() []byte {
	e := newEncoder(s.secret, s.known)
	e.tally(&s.tally)
	for i := range s.waiters {
		e.waiter(&s.waiters[i])
	}
	return e.finish()
}

// The format is frozen: what version 1 wrote is read, and written alike. After
// a change of the format, which needs a new version, -update writes the file
// anew.
func TestFile_golden(t *testing.T) {
	const name = "testdata/v1.greylist"
	got := busy(t, nil).encode()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("written: %x\nwant:    %x", got, want)
	}
	if s, err := decode(want); err != nil || len(s.known) != 4 || len(s.waiters) != 1 {
		t.Errorf("read: %d known, %d waiters, %v; want 4, 1", len(s.known), len(s.waiters), err)
	}
}

var update = flag.Bool("update", false, "write golden files anew")
