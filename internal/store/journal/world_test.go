package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

const testDir = "/data/journal"

// world is a journal on a simulated disk, with what it has promised.
type world struct {
	t    testing.TB
	seed uint64
	rng  *rand.Rand
	disk *sim.Disk
	o    Options
	j    *Journal

	mu    sync.Mutex
	acked map[LSN][]byte   // what must be there: LSN to body
	maybe map[string]bool  // bodies that were handed in and not acknowledged
	pos   map[LSN]Position // where it is, as the records and moves said
	all   map[LSN]string   // every LSN that onDurable or Replay ever showed
	top   LSN              // the highest LSN ever seen
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), disk: sim.NewDisk(seed),
		acked: map[LSN][]byte{}, maybe: map[string]bool{}, pos: map[LSN]Position{}, all: map[LSN]string{},
	}
	w.o = Options{
		Dir: testDir, FS: w.disk, Clock: sim.NewClock(time.Unix(1e9, 0)), Rand: sevens{},
		SegmentBytes: 48 << 10, GroupBytes: 64 << 10, ReserveBytes: -1, OpenFiles: 2,
	}
	if testing.Verbose() {
		w.o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return w
}

// sevens is a source of randomness for goldens.
type sevens struct{}

func (sevens) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

// open opens and starts; the error of a disk that crashes is for the caller.
func (w *world) open() error {
	j, err := Open(w.o)
	if err != nil {
		return err
	}
	w.j = j
	if err := j.Start(func(rs []Record) {
		for _, r := range rs {
			w.see(r)
		}
	}); err != nil {
		_ = j.Close()
		return err
	}
	return nil
}

func (w *world) mustOpen() {
	w.t.Helper()
	if err := w.open(); err != nil {
		w.t.Fatalf("seed %d: open: %v", w.seed, err)
	}
}

// crash stops everything at the next call and decides what is left.
func (w *world) crash(mode sim.Mode) {
	if w.j != nil {
		if !w.disk.Crashed() {
			w.disk.CrashAt(1)
		}
		_ = w.j.Close() // ends its goroutine
		w.j = nil
	}
	w.disk.Crash(mode)
}

// see notes a record that was shown: an LSN means one thing for ever.
func (w *world) see(r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, ok := w.all[r.LSN]; ok && was != string(r.Envelope) {
		w.t.Errorf("seed %d: LSN %s was %q and is %q", w.seed, r.LSN, was, r.Envelope)
	}
	w.all[r.LSN] = string(r.Envelope)
	w.top = max(w.top, r.LSN)
}

// body makes a body that tells itself apart from every other.
func (w *world) body(n int) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := make([]byte, n+16)
	copy(b, fmt.Sprintf("%016x", w.rng.Uint64()))
	for i := 16; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], w.rng.Uint64())
	}
	return b
}

// append appends one message of about n bytes.
func (w *world) append(n int) error {
	body := w.body(n)
	cut := len(body) / 3
	return w.hand(body, &Entry{
		Type: TypeMessage, Envelope: body[:16], Body: [][]byte{body[:cut], body[cut:]},
	})
}

// large appends a message whose second half is a large body.
func (w *world) large(n int) error {
	body := w.body(n)
	l, err := w.j.NewLarge(context.Background())
	if err != nil {
		return err
	}
	defer l.Abort()
	for b := body[n/8:]; len(b) > 0; {
		k := min(len(b), 100<<10)
		if _, err := l.Write(b[:k]); err != nil {
			return err
		}
		b = b[k:]
	}
	if err := l.Seal(); err != nil {
		return err
	}
	return w.hand(body, &Entry{Type: TypeMessage, Envelope: body[:16], Body: [][]byte{body[:n/8]}, Large: l})
}

func (w *world) hand(body []byte, e *Entry) error {
	w.mu.Lock()
	w.maybe[string(body[:16])] = true
	w.mu.Unlock()
	r, err := w.j.Append(context.Background(), e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		return err
	}
	w.acked[r.LSN] = body
	w.pos[r.LSN] = r.Pos
	if r.BodySize != int64(len(body)) {
		w.t.Errorf("seed %d: body size %d of %d", w.seed, r.BodySize, len(body))
	}
	return nil
}

// compact keeps the records for which keep says true, and forgets the others.
func (w *world) compact(seg SegmentID, keep func(LSN) bool) error {
	var dropped []LSN
	err := w.j.Compact(context.Background(), seg, func(r Record) bool {
		if keep(r.LSN) {
			return true
		}
		dropped = append(dropped, r.LSN)
		return false
	}, w.moved)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range dropped {
		// From here on it may be there or not.
		delete(w.acked, l)
		delete(w.pos, l)
	}
	return err
}

func (w *world) moved(ms []Moved) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range ms {
		if _, ok := w.pos[m.LSN]; ok {
			w.pos[m.LSN] = m.To
		}
	}
	return nil
}

// check opens the journal afresh and compares it with what was promised.
func (w *world) check() {
	w.t.Helper()
	j, err := Open(w.o)
	if err != nil {
		w.t.Fatalf("seed %d: open: %v", w.seed, err)
	}
	w.j = j
	seen := map[LSN]Record{}
	last := LSN(0)
	err = j.Replay(context.Background(), 0, func(r Record) error {
		if r.LSN <= last {
			w.t.Errorf("seed %d: replay gave %s after %s", w.seed, r.LSN, last)
		}
		last = r.LSN
		seen[r.LSN] = r
		w.see(r)
		return nil
	})
	if err != nil {
		w.t.Fatalf("seed %d: replay: %v", w.seed, err)
	}
	if last > j.Durable() {
		w.t.Errorf("seed %d: durable %s is behind %s", w.seed, j.Durable(), last)
	}
	for _, lsn := range slices.Sorted(maps.Keys(w.acked)) {
		r, ok := seen[lsn]
		if !ok {
			w.t.Fatalf("seed %d: acknowledged record %s is gone", w.seed, lsn)
		}
		w.sameBody(r.Pos, lsn)
		w.sameBody(w.pos[lsn], lsn)
	}
	bodies := map[string]LSN{}
	for lsn, r := range seen {
		id := string(r.Envelope)
		if !w.maybe[id] {
			w.t.Errorf("seed %d: record %s was never handed in", w.seed, lsn)
		}
		if other, twice := bodies[id]; twice {
			w.t.Errorf("seed %d: %s and %s are the same message", w.seed, lsn, other)
		}
		bodies[id] = lsn
		w.adopt(r)
	}
	if err := j.Verify(context.Background(), func(f Finding) {
		w.t.Errorf("seed %d: verify: %+v", w.seed, f)
	}); err != nil {
		w.t.Fatalf("seed %d: verify: %v", w.seed, err)
	}
	if err := j.Close(); err != nil {
		w.t.Fatalf("seed %d: close: %v", w.seed, err)
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// adopt makes a promise of a record that replay has shown: a view has it now.
func (w *world) adopt(r Record) {
	if _, ok := w.acked[r.LSN]; ok {
		return
	}
	b, err := w.j.Body(r.Pos)
	if err != nil {
		w.t.Fatalf("seed %d: body of %s: %v", w.seed, r.LSN, err)
	}
	defer b.Close()
	body := make([]byte, b.Size())
	if _, err := b.ReadAt(body, 0); err != nil || string(body[:16]) != string(r.Envelope) {
		w.t.Fatalf("seed %d: body of %s is another's (%v)", w.seed, r.LSN, err)
	}
	w.acked[r.LSN], w.pos[r.LSN] = body, r.Pos
}

// sameBody compares a stored body with the one that was handed in.
func (w *world) sameBody(p Position, lsn LSN) {
	w.t.Helper()
	b, err := w.j.Body(p)
	if err != nil {
		w.t.Fatalf("seed %d: body of %s at %v: %v", w.seed, lsn, p, err)
	}
	defer b.Close()
	got := make([]byte, b.Size())
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, w.acked[lsn]) {
		w.t.Fatalf("seed %d: body of %s differs (%v)", w.seed, lsn, err)
	}
}

// tolerable tells whether an error is one that the test has ordered.
func tolerable(err error) bool {
	return err == nil || errors.Is(err, sim.ErrCrashed) || errors.Is(err, ErrFailed) || errors.Is(err, ErrFull) ||
		errors.Is(err, ErrClosed) || sys.IsFull(err)
}
