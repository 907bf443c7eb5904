package alarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// list is a sink that writes down what it gets.
type list struct {
	mu   sync.Mutex
	all  []Notice
	fail func(n int) error // of the n-th attempt
	n    int
}

func (l *list) Name() string { return "webhook" }

func (l *list) Send(ctx context.Context, n Notice) error {
	l.mu.Lock()
	l.n++
	fail := l.fail
	attempt := l.n
	l.mu.Unlock()
	if fail != nil {
		if err := fail(attempt); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, n)
	return ctx.Err()
}

func (l *list) attempts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// events is what it got, as "event key severity".
func (l *list) events() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []string{}
	for _, n := range l.all {
		out = append(out, fmt.Sprint(n.Event, " ", n.Key, " ", n.Severity))
	}
	return out
}

func value(c prometheus.Collector) float64 {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	all, err := reg.Gather()
	if err != nil || len(all) != 1 || len(all[0].GetMetric()) != 1 {
		panic(fmt.Sprint("metric: ", all, err))
	}
	m := all[0].GetMetric()[0]
	return m.GetGauge().GetValue() + m.GetCounter().GetValue()
}

// run runs alarms in a bubble until the test's function has ended.
func run(t *testing.T, a *Alarms, w Watch, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, w) }()
	do()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("notices = %q, want %q", got, want)
	}
}

func TestAlarms_onceRepeatedCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{Hostname: "mx.demo.test"}, l)
		run(t, a, Watch{}, func() {
			for range 100 {
				a.Raise("disk", Warning, "little room", Facts{"free": "1"})
				time.Sleep(time.Minute)
			}
			equal(t, l.events(), "raised disk warning")
			a.Raise("disk", Critical, "no room", nil)
			a.Raise("disk", Warning, "little room", nil) // it is no worse
			a.Raise("journal", Critical, "failed", nil)
			time.Sleep(7 * time.Hour)
			equal(t, l.events(), "raised disk warning", "raised disk critical", "raised journal critical",
				"repeated disk critical", "repeated journal critical")
			if up := a.List(); len(up) != 2 || up[0].Key != "disk" || up[0].Since.After(up[1].Since) {
				t.Errorf("list = %+v", up)
			}
			if n := value(a.o.Metrics.up.WithLabelValues("critical")); n != 2 {
				t.Errorf("critical alarms = %v", n)
			}
			a.Clear("disk")
			a.Clear("nothing")
			if up := a.List(); len(up) != 1 {
				t.Errorf("list after clear = %+v", up)
			}
			time.Sleep(2 * time.Minute)
			equal(t, l.events()[5:], "cleared disk critical")
			if n := l.all[5]; n.Since.IsZero() || n.Host != "mx.demo.test" {
				t.Errorf("notice = %+v", n)
			}
		})
	})
}

// What goes up and down between two severities is told once of each.
func TestAlarms_worse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l)
		run(t, a, Watch{}, func() {
			for range 10 {
				a.Raise("queue", Warning, "long", nil)
				a.Raise("queue", Critical, "very long", nil)
				time.Sleep(15 * time.Second)
			}
		})
		equal(t, l.events(), "raised queue warning", "raised queue critical")
	})
}

// The log has every alarm, and a log that hangs holds up nobody.
func TestAlarms_log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		a := New(Options{Log: slog.New(slog.NewTextHandler(&b, nil))})
		run(t, a, Watch{}, func() {
			a.Raise("disk", Critical, "no room", nil)
			a.Clear("disk")
			time.Sleep(2 * time.Minute)
		})
		for _, want := range []string{"level=WARN msg=alarm part=alarm state=raised check=disk reason=\"no room\"", "level=INFO msg=alarm part=alarm state=cleared"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("log = %s, want %s", b.String(), want)
			}
		}
		r, w := io.Pipe() // nobody reads
		l := &list{}
		a = New(Options{Log: slog.New(slog.NewTextHandler(w, nil))}, l)
		run(t, a, Watch{}, func() {
			for i := range 10 {
				a.Raise(fmt.Sprint(i), Critical, "x", nil)
			}
			time.Sleep(time.Minute)
			if n := len(l.events()); n != 10 {
				t.Errorf("%d notices, want 10", n)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// What comes and goes is one alarm.
func TestAlarms_flapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l)
		run(t, a, Watch{}, func() {
			for range 100 {
				a.Raise("journal", Critical, "stalled", nil)
				time.Sleep(15 * time.Second)
				a.Clear("journal")
				time.Sleep(15 * time.Second)
			}
			time.Sleep(2 * time.Minute)
		})
		equal(t, l.events(), "raised journal critical", "cleared journal critical")
	})
}

func TestAlarms_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{}, &list{})
		facts := Facts{}
		for i := range 2 * factsMax {
			facts[fmt.Sprint("fact", i)] = strings.Repeat("ü", textMax)
		}
		for i := range alarmsMax + 7 {
			a.Raise(fmt.Sprint("k", i, strings.Repeat("x", keyMax)), Warning, strings.Repeat("x", 2*textMax), facts)
		}
		facts["later"] = "no"
		all := a.List()
		if len(all) != alarmsMax || len(all[0].Key) != keyMax || len(all[0].Text) != textMax || len(all[0].Facts) != factsMax {
			t.Errorf("%d alarms, the first with %d octets of key, %d of text, %d facts", len(all), len(all[0].Key), len(all[0].Text), len(all[0].Facts))
		}
		if n := value(a.o.Metrics.leftOut); n != 7 {
			t.Errorf("left out = %v, want 7", n)
		}
		if n := value(a.o.Metrics.notices.WithLabelValues("webhook", "dropped")); n != alarmsMax-waitingMax {
			t.Errorf("dropped = %v: nobody was there to carry them", n)
		}
		// What is critical has places of its own.
		for i := range moreMax + 3 {
			a.Raise(fmt.Sprint("critical", i), Critical, "x", nil)
		}
		if n := len(a.List()); n != alarmsMax+moreMax {
			t.Errorf("%d alarms, want %d", n, alarmsMax+moreMax)
		}
	})
}

// A sink that hangs delays neither callers nor the other sinks.
func TestSinks_apart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, stuck := &list{}, &hanging{}
		a := New(Options{}, stuck, good)
		run(t, a, Watch{}, func() {
			began := time.Now()
			for i := range 3 * waitingMax {
				a.Raise(fmt.Sprint("k", i), Warning, "x", nil)
				synctest.Wait()
			}
			if time.Since(began) != 0 {
				t.Errorf("callers waited %v", time.Since(began))
			}
			if n := len(good.events()); n != 3*waitingMax {
				t.Errorf("the good sink got %d notices, want %d", n, 3*waitingMax)
			}
			time.Sleep(sendTimeout + time.Second)
			if value(a.o.Metrics.failing.WithLabelValues("exec")) != 1 || value(a.o.Metrics.failing.WithLabelValues("webhook")) != 0 {
				t.Error("the failing sink is not told from the good one")
			}
			if n := value(a.o.Metrics.notices.WithLabelValues("exec", "dropped")); n < waitingMax {
				t.Errorf("dropped = %v", n)
			}
		})
	})
}

// hanging is a sink that waits for its end.
type hanging struct{}

func (hanging) Name() string { return "exec" }

func (hanging) Send(ctx context.Context, _ Notice) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestSinks_retry(t *testing.T) {
	down := errors.New("connection refused")
	for name, c := range map[string]struct {
		fail     func(n int) error
		attempts int
		got      int
		within   time.Duration
	}{
		"back after a minute": {func(n int) error {
			if n < 4 {
				return down
			}
			return nil
		}, 4, 1, time.Minute},
		"never back":   {func(int) error { return down }, 7, 0, time.Hour},
		"not wanted":   {func(int) error { return fmt.Errorf("%w: 404", ErrRefused) }, 1, 0, time.Hour},
		"well at once": {nil, 1, 1, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &list{fail: c.fail}
			a := New(Options{Repeat: 100 * time.Hour}, l)
			run(t, a, Watch{}, func() {
				a.Raise("k", Critical, "x", nil)
				time.Sleep(c.within)
				if n := l.attempts(); n != c.attempts || len(l.events()) != c.got {
					t.Errorf("%s: %d attempts, %d taken; want %d and %d", name, n, len(l.events()), c.attempts, c.got)
				}
			})
		})
	}
}

// What was raised a moment before the host stops still leaves, within bounds.
func TestAlarms_stop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &list{}
		a := New(Options{}, l, hanging{})
		var began time.Time
		run(t, a, Watch{}, func() {
			for i := range 10 {
				a.Raise(fmt.Sprint("k", i), Critical, "journal failed", nil)
			}
			began = time.Now()
		})
		if n := len(l.events()); n != 10 {
			t.Errorf("%d notices left, want 10", n)
		}
		if took := time.Since(began); took > drainMax+time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

func TestTest_tellsOfEachSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &list{fail: func(int) error { return errors.New("answered 500") }}
		got := New(Options{}, &list{}, bad, hanging{}).Test(t.Context())
		if len(got) != 3 || got[0].Error != "" || got[1].Error != "answered 500" || got[2].Sink != "exec" || got[2].Error == "" {
			t.Errorf("tests = %+v", got)
		}
	})
}
