package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", path, diff)
	}
}

// TestCalls_golden shows every call that changes the disk, in order, so that a
// sync that moves or goes shows up in review.
func TestCalls_golden(t *testing.T) {
	w := newWorld(t, 1)
	w.o.SegmentBytes = 8 << 10
	w.o.ReserveBytes = 4 << 10
	var out strings.Builder
	act := func(name string, fn func() error) {
		t.Helper()
		w.disk.ResetCalls()
		if err := fn(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintf(&out, "# %s\n", name)
		for _, c := range w.disk.Calls() {
			fmt.Fprintln(&out, strings.ReplaceAll(c, testDir+"/", ""))
		}
		fmt.Fprintln(&out)
	}
	act("first start", w.open)
	act("append", func() error { return w.append(1000) })
	act("append 8 KB", func() error { return w.append(8 << 10) })
	act("append into the next segment", func() error { return w.append(100) })
	act("large body of 300 KB", func() error { return w.large(300 << 10) })
	act("compact the first segment", func() error {
		return w.compact(w.firstLog(), func(l LSN) bool { return l&0xff == 1 })
	})
	act("compact it away", func() error { return w.compact(w.lastCompacted(), func(LSN) bool { return false }) })
	act("orderly stop", func() error { return w.j.Close() })
	act("second start", w.open)
	w.disk.Full(10)
	act("full disk", func() error {
		if err := w.append(3000); err == nil {
			return fmt.Errorf("there was room")
		}
		return nil
	})
	w.disk.Full(-1)
	act("room again", func() error { return w.append(100) })
	act("stop", func() error { return w.j.Close() })
	act("start and stop without a record", func() error {
		if err := w.open(); err != nil {
			return err
		}
		return w.j.Close()
	})
	golden(t, "calls.golden", out.String())
}

func (w *world) lastCompacted() (id SegmentID) {
	for _, s := range w.j.Segments() {
		if s.Kind == KindCompacted {
			id = s.ID
		}
	}
	return id
}

// TestFormat_golden freezes the bytes of every kind of segment and file. If it
// fails, old stores cannot be read any more: make a new format version.
func TestFormat_golden(t *testing.T) {
	w := newWorld(t, 1)
	w.mustOpen()
	add := func(e *Entry) {
		t.Helper()
		if _, err := w.j.Append(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	add(&Entry{Type: TypeMessage, Envelope: AppendString(nil, 1, "envelope"), Body: [][]byte{[]byte("prefix "), []byte("and body")}})
	add(&Entry{Type: TypeBatch, Envelope: AppendUint(nil, 0x200, 300)})
	add(&Entry{Type: TypeState, Envelope: []byte{}, AsOf: 1<<counterBits | 2})
	add(&Entry{Type: TypeMessage, Envelope: []byte("chunked"), Body: [][]byte{bytes.Repeat([]byte{0}, chunkSize), {0}}})
	l, err := w.j.NewLarge(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("a large body")); err != nil {
		t.Fatal(err)
	}
	if err := l.Seal(); err != nil {
		t.Fatal(err)
	}
	add(&Entry{Type: TypeMessage, Envelope: []byte("refers"), Body: [][]byte{[]byte("head ")}, Large: l})
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	dump := func() {
		names, err := w.disk.ReadDir(testDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != lockName {
				hexDump(&out, name, mustRead(t, w, name))
			}
		}
	}
	dump()
	w.mustOpen()
	if err := w.compact(w.firstLog(), func(LSN) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "== after compaction\n")
	dump()
	hexDump(&out, "mark of a failure", mark{StoreID{1}, 1<<counterBits | 1, 1<<counterBits | 2, true}.bytes())
	golden(t, "format.golden", out.String())
}

func mustRead(t *testing.T, w *world, name string) []byte {
	t.Helper()
	f, err := w.disk.Open(testDir+"/"+name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// hexDump writes the lines of a file that are not all zeros.
func hexDump(out *strings.Builder, name string, b []byte) {
	fmt.Fprintf(out, "= %s, %d bytes\n", name, len(b))
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if len(bytes.Trim(line, "\x00")) > 0 {
			fmt.Fprintf(out, "%06x  %s\n", at, hex.EncodeToString(line))
		}
	}
}
