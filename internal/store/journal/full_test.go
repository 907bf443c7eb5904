package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// TestFull_atEveryPoint lets the disk fill up at every kilobyte of the story:
// the journal refuses, loses nothing and goes on once there is room.
func TestFull_atEveryPoint(t *testing.T) {
	for room := int64(0); room < 560<<10; room += 1021 + room/16 {
		w := newWorld(t, uint64(room))
		w.disk.Full(room)
		err := story(w)
		if err == nil {
			w.crash(sim.Any)
			w.check()
			continue
		}
		if !errors.Is(err, ErrFull) && !sys.IsFull(err) {
			t.Fatalf("room %d: %v", room, err)
		}
		if w.j != nil && w.j.Err() != nil {
			t.Fatalf("room %d: a full disk has made the journal fail: %v", room, w.j.Err())
		}
		w.disk.Full(-1)
		if w.j == nil || w.j.queue.closed {
			w.mustOpen()
		}
		if err := w.append(777); err != nil {
			t.Fatalf("room %d: append with room again: %v", room, err)
		}
		w.crash(sim.Any)
		w.check()
	}
}

// TestFull_undoesStampsAndKeepsLSNs: what was stamped is taken back in reverse
// and its LSNs are not used again.
func TestFull_undoesStampsAndKeepsLSNs(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	if err := w.append(10); err != nil {
		t.Fatal(err)
	}
	w.disk.Full(100)
	var log []string
	entry := func() *Entry {
		return &Entry{
			Type: TypeMessage,
			Stamp: func(l LSN) ([]byte, error) {
				log = append(log, fmt.Sprint("stamp ", l))
				return []byte("0123456789abcdef"), nil
			},
			Undo: func() { log = append(log, "undo") },
			Body: [][]byte{[]byte("0123456789abcdef")},
		}
	}
	w.maybe["0123456789abcdef"] = true
	if _, err := w.j.Append(context.Background(), entry()); !errors.Is(err, ErrFull) {
		t.Fatalf("append: %v", err)
	}
	w.disk.Full(-1)
	r, err := w.j.Append(context.Background(), entry())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(log); got != "[stamp 1.2 undo stamp 1.3]" {
		t.Fatalf("calls %s", got)
	}
	w.acked[r.LSN], w.pos[r.LSN] = []byte("0123456789abcdef"), r.Pos
	w.crash(sim.Lose)
	w.check()
}

// TestFull_reserveLetsOwnersDelete: mail is refused, a small batch goes in.
func TestFull_reserveLetsOwnersDelete(t *testing.T) {
	w := newWorld(t, 1)
	w.o.ReserveBytes = 256 << 10
	w.mustOpen()
	w.disk.Full(1000)
	if err := w.append(5000); !errors.Is(err, ErrFull) {
		t.Fatalf("message: %v", err)
	}
	batch := func(id string) error {
		w.maybe[id] = true
		r, err := w.j.Append(context.Background(), &Entry{Type: TypeBatch, Envelope: []byte(id), Body: [][]byte{[]byte(id)}})
		if err == nil {
			w.acked[r.LSN], w.pos[r.LSN] = []byte(id), r.Pos
		}
		return err
	}
	if err := batch("expunge-of-a-lot"); err != nil {
		t.Fatalf("batch: %v", err)
	}
	if err := w.append(5000); !errors.Is(err, ErrFull) {
		t.Fatalf("message, with the reserve given up: %v", err)
	}
	if err := batch("expunge-of-more!"); err != nil {
		t.Fatalf("second batch: %v", err)
	}
	w.disk.Full(10 << 20)
	if err := w.append(5000); err != nil {
		t.Fatalf("message with room: %v", err)
	}
	if size, err := w.disk.Stat(testDir + "/reserve"); err != nil || size != w.o.ReserveBytes {
		t.Fatalf("the reserve is not back: %d, %v", size, err)
	}
	w.crash(sim.Lose)
	w.check()
}
