package journal

import (
	"errors"
	"syscall"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/prometheus/client_golang/prometheus"
)

func TestLarge_isUsedOnceAndSealed(t *testing.T) {
	w := newWorld(t, 1)
	if j, err := Open(w.o); err != nil {
		t.Fatal(err)
	} else if _, err := j.NewLarge(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatalf("before Start: %v", err)
	} else {
		_ = j.Close()
	}
	w.mustOpen()
	defer w.j.Close()
	l, err := w.j.NewLarge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("body")); err != nil {
		t.Fatal(err)
	}
	e := &Entry{Type: TypeMessage, Large: l}
	if _, err := w.j.Append(t.Context(), e); err == nil {
		t.Error("an open large body was taken")
	}
	if err := l.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("more")); err == nil {
		t.Error("written after Seal")
	}
	r, err := w.j.Append(t.Context(), e)
	if err != nil || r.Large != l.Segment() || r.BodySize != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := w.j.Append(t.Context(), e); err == nil {
		t.Error("a large body was taken twice")
	}
	l.Abort()
	b, err := w.j.Body(r.Pos)
	if err != nil {
		t.Fatalf("Abort has removed a body that is referred to: %v", err)
	}
	_ = b.Close()
}

func TestLarge_abortLeavesNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	before, err := w.disk.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, seal := range []bool{false, true} {
		l, err := w.j.NewLarge(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Write(make([]byte, 3*largeBuffer)); err != nil {
			t.Fatal(err)
		}
		if seal {
			if err := l.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		l.Abort()
		l.Abort()
	}
	after, err := w.disk.ReadDir(testDir)
	if err != nil || len(after) != len(before) {
		t.Fatalf("before %v, after %v, %v", before, after, err)
	}
	_ = w.j.Close()
}

// gathered gives the sum of all series of a counter or gauge.
func gathered(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "breakwater_journal_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	w := newWorld(t, 1)
	w.o.Metrics = NewMetrics(reg)
	w.mustOpen()
	if err := w.append(1000); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"appends_total": 1, "groups_total": 1, "failed": 0, "segments": 1,
		"bytes_total": float64(w.pos[LSN(1<<counterBits|1)].Length), "durable_lsn": float64(w.j.Durable()),
	} {
		if got := gathered(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	w.disk.FailNth("sync", 1, syscall.EIO)
	_ = w.append(1)
	if gathered(t, reg, "failed") != 1 || gathered(t, reg, "appends_total") != 2 {
		t.Error("the failure is not shown")
	}
	w.crash(sim.Keep)
	w.check()
}
