package sim

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// write makes or opens a file and writes b at off, without a sync.
func write(t *testing.T, d *Disk, name string, off int64, b []byte) sys.File {
	t.Helper()
	f, err := d.Open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, d *Disk, name string) ([]byte, bool) {
	t.Helper()
	f, err := d.Open(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
		t.Fatal(err)
	}
	return b, true
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDisk_keepsWhatWasSynced(t *testing.T) {
	for _, mode := range []Mode{Keep, Lose, Prefix, Reorder, Tear, Any} {
		for seed := range uint64(50) {
			d := NewDisk(seed)
			must(t, d.MkdirAll("/a/b", 0o700))
			must(t, d.SyncDir("/"))
			must(t, d.SyncDir("/a"))
			want := bytes.Repeat([]byte("x"), 10000)
			must(t, write(t, d, "/a/b/f", 0, want).Sync())
			must(t, d.SyncDir("/a/b"))
			write(t, d, "/a/b/f", 10000, bytes.Repeat([]byte("y"), 20000))
			d.Crash(mode)
			got, ok := read(t, d, "/a/b/f")
			if !ok || len(got) < 10000 || !bytes.Equal(got[:10000], want) {
				t.Fatalf("mode %d seed %d: synced bytes are gone", mode, seed)
			}
			if mode == Lose && len(got) != 10000 || mode == Keep && len(got) != 30000 {
				t.Fatalf("mode %d: %d bytes", mode, len(got))
			}
		}
	}
}

func TestDisk_losesWhatWasNot(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(200) {
		d := NewDisk(seed)
		must(t, write(t, d, "/f", 0, []byte("old")).Sync())
		must(t, d.SyncDir("/"))
		must(t, write(t, d, "/g", 0, []byte("new")).Sync()) // its name is not synced
		must(t, d.Rename("/f", "/h"))
		d.Crash(Reorder)
		_, f := read(t, d, "/f")
		_, g := read(t, d, "/g")
		_, h := read(t, d, "/h")
		seen[map[bool]string{true: "f"}[f]+map[bool]string{true: "g"}[g]+map[bool]string{true: "h"}[h]] = true
	}
	if len(seen) != 8 {
		t.Fatalf("only these outcomes: %v", seen)
	}
}

func TestDisk_tearsBySector(t *testing.T) {
	torn := false
	for seed := range uint64(50) {
		d := NewDisk(seed)
		must(t, write(t, d, "/f", 0, make([]byte, 8192)).Sync())
		must(t, d.SyncDir("/"))
		write(t, d, "/f", 0, bytes.Repeat([]byte{1}, 8192))
		d.Crash(Tear)
		b, _ := read(t, d, "/f")
		for s := 0; s < len(b); s += sectorSize {
			if n := bytes.Count(b[s:s+sectorSize], []byte{1}); n != 0 && n != sectorSize {
				t.Fatalf("seed %d: a sector is torn", seed)
			}
		}
		ones := bytes.Count(b[:pageSize], []byte{1})
		torn = torn || ones > 0 && ones < pageSize
	}
	if !torn {
		t.Fatal("no page was ever torn")
	}
}

func TestDisk_failedSyncForgets(t *testing.T) {
	for seed := range uint64(20) {
		d := NewDisk(seed)
		must(t, d.SyncDir("/"))
		f := write(t, d, "/f", 0, []byte("a"))
		must(t, f.Sync())
		must(t, d.SyncDir("/"))
		d.FailNth("sync", 1, syscall.EIO)
		_, err := f.WriteAt([]byte("b"), 1)
		must(t, err)
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v", err)
		}
		must(t, f.Sync()) // says nothing, does nothing
		if b, _ := read(t, d, "/f"); string(b) != "ab" {
			t.Fatalf("cache has %q", b)
		}
		direct, err := d.OpenDirect("/f")
		must(t, err)
		truth := make([]byte, 2)
		n, _ := direct.ReadAt(truth, 0)
		d.Crash(Lose)
		if b, _ := read(t, d, "/f"); string(b) != string(truth[:n]) {
			t.Fatalf("seed %d: medium has %q, a direct read said %q", seed, b, truth[:n])
		}
	}
}

func TestDisk_full(t *testing.T) {
	d := NewDisk(1)
	d.Full(5)
	f, err := d.Open("/f", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	n, err := f.WriteAt([]byte("12345678"), 0)
	if n != 5 || !sys.IsFull(err) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	must(t, f.Truncate(2))
	if free, _ := d.Free("/"); free != 3 {
		t.Fatalf("%d bytes free", free)
	}
	_, err = f.WriteAt([]byte("12345"), 0)
	must(t, err)
}

func TestDisk_crashAtEndsEverything(t *testing.T) {
	d := NewDisk(1)
	f := write(t, d, "/f", 0, []byte("1"))
	l, err := d.Lock("/lock")
	must(t, err)
	if _, err := d.Lock("/lock"); !errors.Is(err, sys.ErrLocked) {
		t.Fatalf("second lock: %v", err)
	}
	d.CrashAt(2)
	must(t, f.Sync())
	if err := f.Sync(); !errors.Is(err, ErrCrashed) {
		t.Fatalf("second call: %v", err)
	}
	if _, err := d.ReadDir("/"); !errors.Is(err, ErrCrashed) || !d.Crashed() {
		t.Fatalf("after the crash: %v", err)
	}
	d.Crash(Any)
	if _, err := f.Size(); !errors.Is(err, ErrCrashed) {
		t.Fatalf("old handle: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrCrashed) {
		t.Fatalf("old lock: %v", err)
	}
	if _, err := d.Lock("/lock"); err != nil {
		t.Fatal(err)
	}
}

func TestDisk_calls(t *testing.T) {
	d := NewDisk(1)
	f := write(t, d, "/f", 8, []byte("ab"))
	must(t, f.Sync())
	must(t, d.Rename("/f", "/g"))
	must(t, f.Truncate(1))
	must(t, d.SyncDir("/"))
	must(t, d.Remove("/g"))
	want := []string{"create /f", "write /f 8+2", "sync /f", "rename /f /g", "truncate /g 1", "syncdir /", "remove /g"}
	if got := d.Calls(); !reflect.DeepEqual(got, want) {
		t.Fatalf("calls %q", got)
	}
}

func TestDisk_flipBit(t *testing.T) {
	d := NewDisk(1)
	write(t, d, "/f", 0, []byte{0})
	must(t, d.FlipBit("/f", 0))
	if b, _ := read(t, d, "/f"); b[0] == 0 {
		t.Fatal("no bit was flipped")
	}
	if d.FlipBit("/f", 1) == nil || d.FlipBit("/g", 0) == nil {
		t.Fatal("flipped a bit that is not there")
	}
}

func TestClock(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := NewClock(start)
	late, early := c.After(2*time.Second), c.After(time.Second)
	c.Advance(time.Second)
	select {
	case at := <-early:
		if !at.Equal(start.Add(time.Second)) {
			t.Fatal(at)
		}
	default:
		t.Fatal("not fired")
	}
	select {
	case <-late:
		t.Fatal("fired early")
	default:
	}
	c.Advance(time.Hour)
	<-late
	if !c.Now().Equal(start.Add(time.Hour + time.Second)) {
		t.Fatal(c.Now())
	}
	<-c.After(0)
}

func TestDisk_forks(t *testing.T) {
	d := NewDisk(1)
	must(t, d.MkdirAll("/a", 0o700))
	base := bytes.Repeat([]byte("base"), 3000)
	write(t, d, "/a/f", 0, base)
	one, two := d.Fork(2), d.Fork(3)
	write(t, one, "/a/f", 5000, []byte("one"))
	must(t, two.FlipBit("/a/f", 0))
	d.Crash(Lose)
	if _, ok := read(t, d, "/a/f"); ok {
		t.Error("what was not synced is durable, since there are forks")
	}
	one.Crash(Lose)
	if got, _ := read(t, one, "/a/f"); !bytes.Equal(got, base) {
		t.Error("a fork shows what was done to itself and lost, or to another")
	}
	if got, _ := read(t, two, "/a/f"); got[0] == base[0] || !bytes.Equal(got[1:], base[1:]) {
		t.Error("a fork shows more than what was done to it")
	}
}

func TestDisk_writesNothing(t *testing.T) {
	d := NewDisk(1)
	write(t, d, "/f", 0, []byte("abc"))
	if _, err := write(t, d, "/f", 1, nil).WriteAt(nil, 1); err != nil {
		t.Fatal(err)
	}
	if got, _ := read(t, d, "/f"); string(got) != "abc" {
		t.Errorf("a write of nothing left %q", got)
	}
}
