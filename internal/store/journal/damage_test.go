package journal

import (
	"context"
	"errors"
	"maps"
	"syscall"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// full fills a journal with records of every shape in sealed segments.
func fullWorld(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed)
	w.mustOpen()
	for _, n := range []int{0, 100, 5000, 70 << 10, 9, 1000} {
		if err := w.append(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.large(150 << 10); err != nil {
		t.Fatal(err)
	}
	if err := w.compact(w.firstLog(), func(LSN) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := w.append(3000); err != nil {
		t.Fatal(err)
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// fork gives a world of its own that is like w, with no journal open.
func (w *world) fork() *world {
	f := newWorld(w.t, w.seed)
	f.disk = w.disk.Fork(w.seed)
	f.o.FS = f.disk
	f.acked, f.maybe, f.pos, f.all, f.top = maps.Clone(w.acked), maps.Clone(w.maybe), maps.Clone(w.pos), maps.Clone(w.all), w.top
	return f
}

// TestDamage_isFoundAndContained flips single bits all over the files.
func TestDamage_isFoundAndContained(t *testing.T) {
	full := fullWorld(t, 1)
	probe := full.fork()
	probe.check()
	for _, s := range probe.j.Segments() {
		step := int64(61)
		if s.Kind == KindLarge {
			step = 4099
		}
		step *= int64(sim.Stride(5))
		for off := int64(0); off < s.Size; off += step {
			if off > blockSize+200 && off%7 != 0 && s.Size-off > 200 {
				continue
			}
			w := full.fork()
			if err := w.disk.FlipBit(testDir+"/s"+s.ID.String(), off); err != nil {
				t.Fatal(err)
			}
			w.damaged(s, off)
		}
	}
}

// damaged checks that exactly what was at off suffers.
func (w *world) damaged(s SegmentInfo, off int64) {
	w.t.Helper()
	j, err := Open(w.o)
	if err != nil {
		w.t.Fatalf("%s+%d: open: %v", s.ID, off, err)
	}
	defer j.Close()
	w.j = j
	found := 0
	if err := j.Verify(context.Background(), func(f Finding) {
		found++
		if f.Segment != s.ID && s.Kind != KindLarge {
			w.t.Errorf("%s+%d: finding elsewhere: %+v", s.ID, off, f)
		}
	}); err != nil {
		w.t.Fatal(err)
	}
	if found == 0 && j.Recovery().Cut == 0 {
		w.t.Fatalf("%s+%d: verify found nothing", s.ID, off)
	}
	hit := 0
	for lsn, p := range w.pos {
		inside := p.Segment == s.ID && off >= p.Offset && off < p.Offset+p.Length
		b, err := j.Body(p)
		if err == nil {
			got := make([]byte, b.Size())
			_, err = b.ReadAt(got, 0)
			if err == nil && string(got) != string(w.acked[lsn]) {
				w.t.Fatalf("%s+%d: wrong bytes of %s were served", s.ID, off, lsn)
			}
			_ = b.Close()
		}
		var damage *DamageError
		if errors.As(err, &damage) {
			hit++
			if !inside && s.Kind != KindLarge {
				w.t.Fatalf("%s+%d: %s at %v suffers: %v", s.ID, off, lsn, p, err)
			}
			if damage.Segment != s.ID {
				w.t.Fatalf("%s+%d: error names %v", s.ID, off, damage)
			}
		} else if err != nil {
			w.t.Fatal(err)
		}
	}
	if hit > 1 {
		w.t.Fatalf("%s+%d: %d records suffer", s.ID, off, hit)
	}
	seen := 0
	if err := j.Replay(context.Background(), 0, func(Record) error { seen++; return nil }); err != nil {
		w.t.Fatal(err)
	}
	if seen < len(w.acked)-1 {
		w.t.Fatalf("%s+%d: replay gave %d of %d records", s.ID, off, seen, len(w.acked))
	}
}

// TestDamage_inTheMiddleOfTheTail: without a seal, a bad record that durable
// ones follow is damage and stays.
func TestDamage_inTheMiddleOfTheTail(t *testing.T) {
	w := newWorld(t, 5)
	w.mustOpen()
	for range 4 {
		if err := w.append(1000); err != nil {
			t.Fatal(err)
		}
	}
	seg := w.j.Segments()[0]
	second := w.pos[LSN(1<<counterBits|2)]
	w.crash(sim.Keep)
	if err := w.disk.FlipBit(testDir+"/s"+seg.ID.String(), second.Offset+10); err != nil {
		t.Fatal(err)
	}
	j, err := Open(w.o)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if r := j.Recovery(); r.Cut != 0 || r.Clean {
		t.Fatalf("recovery %+v", r)
	}
	var got []LSN
	if err := j.Replay(t.Context(), 0, func(r Record) error { got = append(got, r.LSN&0xff); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[1] != 3 {
		t.Fatalf("replay gave %v", got)
	}
	if err := j.Compact(t.Context(), seg.ID, func(Record) bool { return true }, nil); err == nil {
		t.Fatal("a damaged segment was compacted away")
	}
	if !j.Segments()[0].Damaged {
		t.Fatal("the segment is not in quarantine")
	}
}

// TestDamage_durableRecordIsNotCut: if the last record is bad, that is a torn
// tail, unless somebody knows that it was durable: a view that has applied it,
// or the mark that the death of a process leaves.
func TestDamage_durableRecordIsNotCut(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    sim.Mode
		applied LSN
		cut     bool
	}{
		{"nobody knows", sim.Lose, 0, true},
		{"a view knows", sim.Lose, 1<<counterBits | 1, false},
		{"the mark knows", sim.Keep, 0, false},
	} {
		w := newWorld(t, 6)
		w.mustOpen()
		if err := w.append(1000); err != nil {
			t.Fatal(err)
		}
		p := w.pos[LSN(1<<counterBits|1)]
		w.disk.Crash(c.mode)
		if err := w.disk.FlipBit(testDir+"/s"+p.Segment.String(), p.Offset+p.Length/2); err != nil {
			t.Fatal(err)
		}
		w.o.Applied = c.applied
		j, err := Open(w.o)
		if err != nil {
			t.Fatal(err)
		}
		r := j.Recovery()
		if cut := r.Cut > 0; cut != c.cut || cut != (r.SavedIn != "") {
			t.Fatalf("%s: recovery %+v", c.name, r)
		}
		found := 0
		if err := j.Verify(t.Context(), func(f Finding) { found++ }); err != nil || (found == 0) != c.cut {
			t.Fatalf("%s: %d findings, %v", c.name, found, err)
		}
		_ = j.Close()
		_ = w.j.Close()
	}
}

// TestFail_everyCall makes each call of each kind fail once with EIO: nothing
// that was acknowledged is lost, and nothing is accepted after a failure.
func TestFail_everyCall(t *testing.T) {
	for _, op := range []string{"create", "open", "write", "sync", "syncdir", "truncate", "rename", "remove", "mkdir", "lock", "free"} {
		for n := 1; n < 60; n++ {
			w := newWorld(t, uint64(n))
			w.disk.FailNth(op, n, syscall.EIO)
			err := story(w)
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrFailed) {
				t.Fatalf("%s %d: %v", op, n, err)
			}
			if w.j != nil && w.j.Err() != nil {
				if err := w.append(1); !errors.Is(err, ErrFailed) {
					t.Fatalf("%s %d: append after a failure: %v", op, n, err)
				}
			}
			// First only the process starts anew, and believes nothing
			// that the page cache says wrongly; then the power goes.
			w.crash(sim.Keep)
			w.check()
			w.crash(sim.Lose)
			w.check()
		}
	}
}

func TestFail_syncIsFinal(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		w := newWorld(t, 1)
		w.mustOpen()
		if err := w.append(10); err != nil {
			t.Fatal(err)
		}
		w.disk.FailNth(op, 1, syscall.EIO)
		if err := w.append(20); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: %v", op, err)
		}
		for _, err := range []error{w.append(30), w.large(10), w.j.Err(), w.j.Close()} {
			if !errors.Is(err, ErrFailed) {
				t.Fatalf("%s: afterwards: %v", op, err)
			}
		}
		w.crash(sim.Keep)
		w.check()
		if len(w.acked) != 1 {
			t.Fatalf("%s: %d records; what was refused came back although a mark told of the failure", op, len(w.acked))
		}
	}
}
