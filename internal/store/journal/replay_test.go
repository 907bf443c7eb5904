package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// put appends an entry whose envelope is its name.
func (w *world) put(e *Entry, name string) LSN {
	w.t.Helper()
	e.Envelope = []byte(name)
	r, err := w.j.Append(context.Background(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.LSN
}

// replayed gives the names of what Replay gives, in order.
func (w *world) replayed(after LSN) string {
	w.t.Helper()
	var names []string
	err := w.j.Replay(context.Background(), after, func(r Record) error {
		names = append(names, string(r.Envelope))
		if r.Type != TypeState && r.AsOf != r.LSN {
			w.t.Errorf("record %s is as of %s", r.LSN, r.AsOf)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestReplay_statesComeWhereTheyAreAsOf(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		w := newWorld(t, 1)
		w.mustOpen()
		a := w.put(&Entry{Type: TypeBatch}, "a")
		b := w.put(&Entry{Type: TypeBatch}, "b")
		w.put(&Entry{Type: TypeBatch}, "c")
		w.put(&Entry{Type: TypeState, AsOf: b}, "B")
		w.put(&Entry{Type: TypeState, AsOf: a}, "A")
		w.put(&Entry{Type: TypeState, AsOf: b}, "B2")
		d := w.put(&Entry{Type: TypeBatch}, "d")
		w.put(&Entry{Type: TypeState, AsOf: d}, "D")
		check := func() {
			t.Helper()
			for after, want := range map[LSN]string{
				0: "a A b B B2 c d D", a: "b B B2 c d D", b: "c d D", b + 1: "d D", d: "", d + 1: "",
			} {
				if got := w.replayed(after); got != want {
					t.Errorf("sealed %v: after %s: %q, want %q", sealed, after, got, want)
				}
			}
		}
		check()
		if sealed {
			if err := w.j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		w.crash(sim.Lose)
		w.mustOpen()
		check()
		// Operations up to the state may go; the state says it all.
		if err := w.j.Compact(context.Background(), w.firstLog(), func(r Record) bool {
			return r.LSN > b && string(r.Envelope) != "A"
		}, func([]Moved) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if got := w.replayed(0); got != "B B2 c d D" {
			t.Errorf("compacted: %q", got)
		}
		w.crash(sim.Lose)
		w.mustOpen()
		if got := w.replayed(0); got != "B B2 c d D" {
			t.Errorf("compacted and opened again: %q", got)
		}
		_ = w.j.Close()
	}
}

func TestAppend_refusesStatesOfTheFuture(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	defer w.j.Close()
	if _, err := w.j.Append(t.Context(), &Entry{Type: TypeState, AsOf: 1<<counterBits | 1}); err == nil {
		t.Error("a state as of itself was taken")
	}
	if _, err := w.j.Append(t.Context(), &Entry{Type: TypeBatch, AsOf: 1}); err == nil {
		t.Error("a batch with AsOf was taken")
	}
	for _, typ := range []Type{0, TypeSeal, TypeLargeBody, 9} {
		if _, err := w.j.Append(t.Context(), &Entry{Type: typ}); err == nil {
			t.Errorf("type %d was taken", typ)
		}
	}
	for _, e := range []*Entry{
		{Type: TypeBatch, Envelope: make([]byte, EnvelopeMax+1)},
		{Type: TypeMessage, Body: [][]byte{make([]byte, inlineLimit), {1}}},
		{Type: TypeBatch, Stamp: func(LSN) ([]byte, error) { return make([]byte, EnvelopeMax+1), nil }},
	} {
		if _, err := w.j.Append(t.Context(), e); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too large an entry: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.j.Append(ctx, &Entry{Type: TypeBatch}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := w.put(&Entry{Type: TypeBatch}, "x"); got != 1<<counterBits|1 {
		t.Errorf("refused entries have taken LSNs: %s", got)
	}
}

func TestMerge_joinsUnfinishedCompactions(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	for range 4 {
		if err := w.append(1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	w.mustOpen()
	src := w.firstLog()
	dead := LSN(1<<counterBits | 2)
	// The view cannot write the new positions: everything stays.
	broken := errors.New("index is broken")
	err := w.j.Compact(t.Context(), src, func(r Record) bool { return r.LSN != dead }, func([]Moved) error { return broken })
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	w.crash(sim.Lose)
	w.check()
	w.mustOpen()
	copied := w.lastCompacted()
	i := slices.IndexFunc(w.j.Segments(), func(s SegmentInfo) bool { return s.ID == copied })
	if src2 := w.j.Segments()[i].Sources; len(src2) != 1 || src2[0] != src {
		t.Fatalf("sources %v", src2)
	}
	// The second try finds the dead one undeleted: it is in the original only.
	if err := w.compact(src, func(LSN) bool { return true }); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.j.Segments() {
		if s.ID == src || s.ID == copied {
			t.Fatalf("segment %s is still there", s.ID)
		}
	}
	if _, err := w.j.ReadRecord(Position{src, blockSize, 0}); !errors.Is(err, ErrGone) {
		t.Fatalf("old position: %v", err)
	}
	w.crash(sim.Lose)
	w.check()
	if len(w.acked) != 4 {
		t.Fatalf("%d records", len(w.acked))
	}
}

func TestMerge_severalSegmentsAndLargeBodies(t *testing.T) {
	w := newWorld(t, 1)
	w.o.SegmentBytes = 30 << 10
	w.mustOpen()
	for i := range 12 {
		if err := w.append(9000); err != nil {
			t.Fatal(err)
		}
		if i == 3 || i == 5 {
			if err := w.large(200 << 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	var logs []SegmentID
	larges := 0
	for _, s := range w.j.Segments() {
		switch {
		case s.Kind == KindLarge:
			larges++
		case !s.Active:
			logs = append(logs, s.ID)
		}
	}
	if larges != 2 || len(logs) < 3 {
		t.Fatalf("%d large segments, %d logs", larges, len(logs))
	}
	// A reader has a body open that goes.
	firstLarge := LSN(1<<counterBits | 5)
	body, err := w.j.Body(w.pos[firstLarge])
	if err != nil {
		t.Fatal(err)
	}
	want := w.acked[firstLarge]
	err = w.j.Merge(t.Context(), logs, func(r Record) bool { return r.LSN != firstLarge }, w.moved)
	if err != nil {
		t.Fatal(err)
	}
	delete(w.acked, firstLarge)
	got := make([]byte, body.Size())
	if _, err := body.ReadAt(got, 0); err != nil || string(got) != string(want) {
		t.Fatalf("a reader lost its body: %v", err)
	}
	_ = body.Close()
	for _, s := range w.j.Segments() {
		if s.Kind == KindLarge {
			larges--
		}
	}
	if larges != 1 {
		t.Fatal("the large body of a dead record is still there, or both have gone")
	}
	w.crash(sim.Lose)
	w.check()
}

func TestMerge_refuses(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	defer w.j.Close()
	for _, id := range []SegmentID{w.j.Segments()[0].ID, 77} {
		if err := w.j.Compact(t.Context(), id, nil, nil); err == nil {
			t.Errorf("segment %s was compacted", id)
		}
	}
}

func TestSweepLarge_removesOrphans(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	if err := w.large(100 << 10); err != nil {
		t.Fatal(err)
	}
	for range 2 { // sealed, and then the process dies; aborted
		l, err := w.j.NewLarge(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(l, "orphan")
		if err := l.Seal(); err != nil {
			t.Fatal(err)
		}
		if l.Size() != 6 {
			t.Fatal(l.Size())
		}
		defer l.Abort()
	}
	if n, err := w.j.SweepLarge(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d of this run, %v", n, err)
	}
	w.crash(sim.Lose)
	w.mustOpen()
	if n, err := w.j.SweepLarge(t.Context()); n != 2 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	w.crash(sim.Lose)
	w.check()
}
