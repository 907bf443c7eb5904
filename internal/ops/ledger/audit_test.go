package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// world is an audit and what it looks at, in which all is well: a message that
// has ended, and one that waits for two.
type world struct {
	table  *table
	queue  *memory
	bodies *bodies
	given  int64
	w      Witnesses
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		table:  &table{messages: []*fate.Message{accepted(t, 1, fate.Relayed, fate.Delivered), accepted(t, 2, fate.Queued, fate.Bounced, fate.Held)}},
		queue:  &memory{keys: []key{{2, 2}, {2, 0}}},
		bodies: &bodies{missing: map[journal.LSN]error{}},
	}
	w.w = Witnesses{Table: w.table, Queue: w.queue, Bodies: w.bodies, Given: func() int64 { return w.given }}
	return w
}

func (w *world) audit() *Audit {
	all := w.table.messages
	w.table.messages = nil // they came after the start
	defer func() { w.table.messages = all }()
	a, err := NewAudit(context.Background(), AuditOptions{}, w.w)
	if err != nil {
		panic(err)
	}
	return a
}

// value reads a metric of one series.
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

// Days are counted anew one after the other, and those that were wrong each
// time.
func TestAudit_daysGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.messages, w.queue.keys = nil, nil
		for n := range 3 {
			w.table.messages = append(w.table.messages, accepted(t, n*24*3600, fate.Relayed))
		}
		date := func(n int) time.Time { return day.Truncate(24*time.Hour).AddDate(0, 0, n) }
		w.table.wrongDay = date(1)
		a := w.audit()
		var got []string
		for n := range 5 {
			w.table.recounted = nil
			if n == 4 {
				w.table.wrongDay = time.Time{}
			}
			r := a.Once(t.Context())
			got = append(got, fmt.Sprint(len(r.Findings), r.Recounted))
			for _, d := range w.table.recounted {
				got = append(got, d.Format("2"))
			}
		}
		if want := "[0 1 20 1 1 21 1 2 21 22 1 2 21 20 0 1 21]"; fmt.Sprint(got) != want {
			t.Errorf("found, counted, days: %v, want %v", got, want)
		}
	})
}

func TestAudit_clean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.audit()
		if a.Last() != nil || a.Unaccounted() != nil {
			t.Error("a result before the first audit")
		}
		r := a.Once(t.Context())
		if len(r.Findings) != 0 || r.Error != "" || r.Missing != 0 || r.Messages != 2 || r.Numbers != 2 || r.Open != 2 || r.Bodies != 1 {
			t.Errorf("result = %+v", r)
		}
		if got := value(a.o.Metrics.audits.WithLabelValues("clean")); got != 1 {
			t.Errorf("clean audits = %v", got)
		}
	})
}

// Each thing that is wrong is found, by the right check, and with the id that
// an operator can trace.
func TestAudit_finds(t *testing.T) {
	id := accepted(t, 2).ID
	for name, c := range map[string]struct {
		spoil func(*world)
		check string
		id    string
		lacks int64
	}{
		"a difference":        {func(w *world) { w.table.extra.Accepted = 3 }, CheckSum, "", 3},
		"too many fates":      {func(w *world) { w.table.extra.Relayed = 2 }, CheckSum, "", 2},
		"a named message":     {func(w *world) { w.table.extra = fate.Sums{Tally: fate.Tally{Accepted: 1}, Unaccounted: []string{"x"}} }, CheckSum, "x", 1},
		"a record set aside":  {func(w *world) { w.w.Asides = asides{{LSN: 9, Reason: "damaged"}} }, CheckSetAside, fate.RecordName(9), 1},
		"a 250 not booked":    {func(w *world) { w.given = 5 }, CheckGiven, "", 3},
		"lost by the queue":   {func(w *world) { w.queue.keys = w.queue.keys[:1] }, CheckQueue, id, 1},
		"ended, still queued": {func(w *world) { w.queue.keys = append(w.queue.keys, key{2, 1}) }, CheckBooks, id, 0},
		"queued, not booked":  {func(w *world) { w.queue.keys = append(w.queue.keys, key{8, 0}) }, CheckBooks, fate.RecordName(8), 1},
		"no such recipient":   {func(w *world) { w.queue.keys = append(w.queue.keys, key{2, 9}) }, CheckBooks, id, 0},
		"a body gone":         {func(w *world) { w.bodies.missing[2] = errMissing }, CheckBody, id, 2},
		"a body damaged":      {func(w *world) { w.bodies.missing[2] = &journal.DamageError{LSN: 2} }, CheckBody, id, 0},
		"a day":               {func(w *world) { w.table.wrongDay = day.Truncate(24 * time.Hour) }, CheckDay, "day 2026-11-20", 1},
		"miscounted":          {func(w *world) { w.table.messages[1].Miscounted = true }, CheckNumbers, id, 1},
		"for nobody":          {func(w *world) { w.table.messages[1].Recipients = nil; w.queue.keys = nil }, CheckNumbers, id, 1},
		"life after death": {func(w *world) {
			w.table.messages[1].Recipients[1].Events = []fate.Event{{State: fate.Relayed}, {State: fate.Bounced}}
		}, CheckNumbers, id, 1},
		"no word of its end": {func(w *world) {
			w.table.messages[1].Recipients[1].Events = []fate.Event{{State: fate.Deferred}}
		}, CheckNumbers, id, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			c.spoil(w)
			a := w.audit()
			for range 2 { // it stays found
				r := a.Once(t.Context())
				if len(r.Findings) != 1 || r.Findings[0].Check != c.check || r.Findings[0].ID != c.id || r.Missing != c.lacks {
					t.Fatalf("%s: %+v, want %s of %q, %d missing", name, r, c.check, c.id, c.lacks)
				}
				if got := value(a.o.Metrics.unaccounted); got != float64(c.lacks) {
					t.Errorf("%s: metric = %v, want %d", name, got, c.lacks)
				}
				if (len(a.Unaccounted()) > 0) != (c.lacks > 0) {
					t.Errorf("%s: unaccounted = %v", name, a.Unaccounted())
				}
			}
		})
	}
}

// What moves while the audit looks is no finding.
func TestAudit_inFlight(t *testing.T) {
	for name, c := range map[string]struct {
		at, later func(*world) // what is seen first, and what at the second look
	}{
		"accepted, not queued yet": {
			func(w *world) { w.queue.keys = nil },
			func(w *world) { w.queue.keys = []key{{2, 0}, {2, 2}} },
		},
		"ended, still being taken out": {
			func(w *world) { w.queue.keys = append(w.queue.keys, key{1, 0}) },
			func(w *world) { w.queue.keys = w.queue.keys[:2] },
		},
		"ended between": {
			func(w *world) { w.queue.keys = w.queue.keys[:1] },
			func(w *world) { w.table.messages[1].Recipients[0].State = fate.Relayed },
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			c.at(w)
			walks := 0
			w.table.opened = func() {
				if walks++; walks == 1 {
					c.later(w)
				}
			}
			if r := w.audit().Once(t.Context()); len(r.Findings) != 0 || r.Error != "" {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}

// A queue that cannot name what it holds is asked for what it should hold.
func TestAudit_queueThatOnlyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.w.Queue = struct{ Queue }{w.queue}
		w.queue.keys = append(w.queue.keys[:1], key{8, 0})
		r := w.audit().Once(t.Context())
		if len(r.Findings) != 1 || r.Findings[0].Check != CheckQueue {
			t.Errorf("result = %+v", r)
		}
	})
}

// An audit that cannot be finished says so, and does not take back what the
// one before has found.
func TestAudit_failed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.extra = fate.Sums{Tally: fate.Tally{Accepted: 1}, Unaccounted: []string{"x"}}
		a := w.audit()
		a.Once(t.Context())
		w.table.extra, w.table.err = fate.Sums{}, errors.New("index stalled")
		r := a.Once(t.Context())
		if !strings.Contains(r.Error, "index stalled") || !slices.Equal(r.Unaccounted, []string{"x"}) {
			t.Errorf("failed audit = %+v", r)
		}
		w.table.err, w.queue.err = nil, errors.New("still being read")
		if r := a.Once(t.Context()); !strings.Contains(r.Error, "still being read") {
			t.Errorf("audit without a queue = %+v", r)
		}
		w.queue.err = nil
		if r := a.Once(t.Context()); r.Error != "" || r.Missing != 0 || value(a.o.Metrics.unaccounted) != 0 {
			t.Errorf("mended: %+v", r)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.table.extra.Accepted = 1
		a.Once(ctx)
		if a.Last().Missing != 0 {
			t.Error("an audit that the host's end cut short was believed")
		}
	})
}

// Many messages take many audits: each goes on where the last one ended, and
// what was found stays found while others are looked at.
func TestAudit_goesRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.messages, w.queue.keys = nil, nil
		for n := 1; n <= bodiesMax+10; n++ {
			m := accepted(t, n, fate.Queued)
			m.Received = day.Add(time.Duration(n/7) * time.Second) // seven in each second
			w.table.messages = append(w.table.messages, m)
			w.queue.keys = append(w.queue.keys, key{m.LSN, 0})
		}
		w.bodies.missing[3] = errMissing
		w.table.messages[2].Recipients[0].Events = []fate.Event{{State: fate.Bounced}}
		a := w.audit()
		var numbers int64
		for n := range 8 {
			began := time.Now()
			r := a.Once(t.Context())
			numbers += r.Numbers
			if n == 0 && r.Bodies != bodiesMax || n == 1 && r.Bodies != 11 { // ten, and the one that is known to be bad
				t.Errorf("audit %d opened %d bodies", n, r.Bodies)
			}
			if least := time.Duration(r.Bodies/readsDefault) * time.Second; time.Since(began) < least {
				t.Errorf("audit %d took %v for %d bodies, want %v at least", n, time.Since(began), r.Bodies, least)
			}
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Check == CheckBody && f.lsn == 3 }) {
				t.Errorf("audit %d forgot the missing body: %+v", n, r.Findings)
			}
			if n > 3 && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Check == CheckNumbers && f.lsn == 3 }) {
				t.Errorf("audit %d has not found the wrong number: %+v", n, r.Findings)
			}
		}
		if numbers < bodiesMax {
			t.Errorf("%d messages were looked at", numbers)
		}
		delete(w.bodies.missing, 3)
		if r := a.Once(t.Context()); slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Check == CheckBody }) {
			t.Errorf("mended body: %+v", r.Findings)
		}
	})
}

// The count of 250s goes on over days, while the books of old messages are
// closed and forgotten.
func TestAudit_givenForWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.messages, w.queue.keys = nil, nil
		a := w.audit()
		for n := 1; n <= 100; n++ {
			time.Sleep(12 * time.Hour)
			m := accepted(t, n, fate.Relayed)
			m.Received = time.Now()
			w.table.messages = append(w.table.messages, m)
			w.given++
			if len(w.table.messages) > 10 { // kept for five days
				w.table.messages = w.table.messages[1:]
				w.table.extra.Dropped++
			}
			if r := a.Once(t.Context()); len(r.Findings) != 0 {
				t.Fatalf("message %d: %+v", n, r)
			}
		}
		w.given++
		if r := a.Once(t.Context()); r.Missing != 1 || r.Findings[0].Check != CheckGiven {
			t.Errorf("a 250 without a booking: %+v", r)
		}
	})
}

func TestAudit_run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.audit()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(firstAfter + 2*everyDefault + time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := value(a.o.Metrics.audits.WithLabelValues("clean")); n != 3 {
			t.Errorf("%v audits, want 3", n)
		}
	})
}

// An audit keeps no more than it may, whatever is wrong.
func TestAudit_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for n := range findingsMax + 100 {
			w.table.extra.Unaccounted = append(w.table.extra.Unaccounted, fmt.Sprint(n))
		}
		r := w.audit().Once(t.Context())
		if len(r.Findings) != findingsMax || len(r.Unaccounted) != idsMax || r.Missing != findingsMax+100 {
			t.Errorf("%d findings, %d ids, %d missing", len(r.Findings), len(r.Unaccounted), r.Missing)
		}
	})
}
