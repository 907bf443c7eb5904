package journal

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

func TestAppend_isThereAfterAnyStop(t *testing.T) {
	for _, mode := range []sim.Mode{sim.Keep, sim.Lose, sim.Tear, -1} {
		w := newWorld(t, 1)
		for range 3 {
			w.mustOpen()
			for _, n := range []int{0, 1, 100, 5000, 64 << 10, 70 << 10, 200 << 10} {
				if err := w.append(n); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.large(700 << 10); err != nil {
				t.Fatal(err)
			}
			if mode < 0 {
				if err := w.j.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				w.crash(mode)
			}
			w.check()
		}
		if len(w.acked) != 24 {
			t.Fatalf("%d records", len(w.acked))
		}
	}
}

func TestOpen_locks(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	if _, err := Open(w.o); !errors.Is(err, sys.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.j.Append(context.Background(), &Entry{Type: TypeBatch}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	w.check()
}

func TestBody_readsAnyRange(t *testing.T) {
	w := newWorld(t, 3)
	w.mustOpen()
	if err := w.append(300 << 10); err != nil {
		t.Fatal(err)
	}
	if err := w.large(900 << 10); err != nil {
		t.Fatal(err)
	}
	for lsn, want := range w.acked {
		b, err := w.j.Body(w.pos[lsn])
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			off := w.rng.IntN(len(want))
			got := make([]byte, w.rng.IntN(min(len(want)-off, 200<<10)+1))
			if n, err := b.ReadAt(got, int64(off)); err != nil || string(got) != string(want[off:off+n]) || n != len(got) {
				t.Fatalf("range %d+%d: %v", off, len(got), err)
			}
		}
		if n, err := b.ReadAt(make([]byte, 10), int64(len(want)-3)); n != 3 || err != io.EOF {
			t.Fatalf("at the end: %d, %v", n, err)
		}
		if _, err := b.ReadAt(make([]byte, 10), int64(len(want))); err != io.EOF {
			t.Fatalf("past the end: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
}
