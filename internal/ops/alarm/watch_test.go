package alarm

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatch_backlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l)
		var size, age atomic.Int64 // recipients, minutes
		w := Watch{QueueAge: time.Hour, QueueSize: 1000, Backlog: func() (int, time.Duration) {
			return int(size.Load()), time.Duration(age.Load()) * time.Minute
		}}
		run(t, a, w, func() {
			set := func(s, m int64) { size.Store(s); age.Store(m); time.Sleep(2 * time.Minute) }
			set(1000, 60)
			equal(t, l.events()) // at the limit is not above it
			set(1001, 61)
			equal(t, l.events(), "raised queue-age warning", "raised queue-size warning")
			set(900, 50) // about the limit: still up
			set(5000, 50)
			equal(t, l.events()[2:], "raised queue-size critical")
			set(700, 241)
			equal(t, l.events()[3:], "raised queue-age critical", "cleared queue-size critical")
			set(0, 0)
			equal(t, l.events()[5:], "cleared queue-age critical")
		})
	})
}

func TestWatch_ledgerJournalDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l)
		var bad atomic.Bool
		w := Watch{
			DiskFree: 100 << 20,
			Unaccounted: func() []string {
				if bad.Load() {
					return make([]string, 1000)
				}
				return nil
			},
			Journal: func() error {
				if bad.Load() {
					return errors.New("write failed")
				}
				return nil
			},
			Disk: func() (int64, error) {
				if bad.Load() {
					return 99 << 20, nil
				}
				return 200 << 20, nil
			},
		}
		run(t, a, w, func() {
			time.Sleep(time.Minute)
			equal(t, l.events())
			bad.Store(true)
			time.Sleep(time.Minute)
			if n := len(l.events()); n != 3 {
				t.Errorf("notices = %q, want 3", l.events())
			}
			for _, up := range a.List() {
				if up.Severity != Critical {
					t.Errorf("%s is only a %s", up.Key, up.Severity)
				}
			}
			bad.Store(false)
			time.Sleep(3 * time.Minute)
			if n := len(l.events()); n != 6 || len(a.List()) != 0 {
				t.Errorf("notices = %q, up = %+v", l.events(), a.List())
			}
		})
	})
}

// A look that hangs is an alarm, and the others go on.
func TestWatch_hangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l)
		dead := make(chan struct{})
		var looks atomic.Int32
		w := Watch{
			DiskFree: 1, Disk: func() (int64, error) { <-dead; return 1 << 30, nil },
			Journal: func() error { looks.Add(1); return nil },
		}
		run(t, a, w, func() {
			time.Sleep(10 * time.Minute)
			equal(t, l.events(), "raised silent-disk critical")
			if n := looks.Load(); n < 39 {
				t.Errorf("the journal was looked at %d times", n)
			}
			close(dead)
			time.Sleep(2 * time.Minute)
			equal(t, l.events(), "raised silent-disk critical", "cleared silent-disk critical")
		})
	})
}

func TestWatch_diskThatDoesNotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l)
		run(t, a, Watch{DiskFree: 1, Disk: func() (int64, error) { return 0, errors.New("input/output error") }}, func() {
			time.Sleep(time.Minute)
		})
		equal(t, l.events(), "raised disk critical")
	})
}
