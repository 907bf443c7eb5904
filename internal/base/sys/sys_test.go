package sys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestOSFS_writeVAt(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OSFS().Open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// More buffers than one system call takes, empty ones among them.
	var bufs [][]byte
	want := bytes.Repeat([]byte{0}, 7)
	for i := range 3000 {
		b := []byte(fmt.Sprint(i))
		if i%5 == 0 {
			b = nil
		}
		bufs = append(bufs, b)
		want = append(want, b...)
	}
	n, err := f.WriteVAt(bufs, 7)
	if err != nil || n != int64(len(want)-7) {
		t.Fatalf("wrote %d of %d: %v", n, len(want)-7, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("file differs (%v)", err)
	}
	if size, err := f.Size(); err != nil || size != int64(len(want)) {
		t.Fatalf("size %d, %v", size, err)
	}
}

func TestOSFS_directReadsAnyRange(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	want := make([]byte, 3<<20+77)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OSFS().OpenDirect(name)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this file system has no direct reads")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range [][2]int{{0, len(want)}, {1, 1}, {4095, 2}, {4096, 4096}, {1<<20 - 3, 1<<20 + 9}, {len(want) - 5, 5}} {
		got := make([]byte, r[1])
		if _, err := f.ReadAt(got, int64(r[0])); err != nil || !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v: error %v or wrong bytes", r, err)
		}
	}
	got := make([]byte, 10)
	if n, err := f.ReadAt(got, int64(len(want)-4)); n != 4 || err == nil {
		t.Errorf("past the end: %d bytes, error %v", n, err)
	}
}

func TestOSFS_folders(t *testing.T) {
	dir, fsys := t.TempDir(), OSFS()
	if err := fsys.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fsys.SyncDir(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("stat: %v", err)
	}
	if err := fsys.Rename(filepath.Join(dir, "a", "b"), filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	names, err := fsys.ReadDir(dir)
	if err != nil || fmt.Sprint(names) != "[a c]" {
		t.Fatalf("names %v, %v", names, err)
	}
	if err := fsys.Remove(filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if free, err := fsys.Free(dir); err != nil || free <= 0 {
		t.Fatalf("free %d, %v", free, err)
	}
}

func TestOSFS_lockIsExclusive(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	l, err := OSFS().Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OSFS().Lock(name); !errors.Is(err, ErrLocked) {
		t.Fatalf("second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = OSFS().Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestIsFull(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ENOSPC: true,
		&fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}: true,
		syscall.EIO: false,
		nil:         false,
	} {
		if IsFull(err) != want {
			t.Errorf("IsFull(%v) = %v", err, !want)
		}
	}
}

func TestRealClock(t *testing.T) {
	c := RealClock()
	before := c.Now()
	if at := <-c.After(time.Nanosecond); at.Before(before) {
		t.Fatal("time went backwards")
	}
	b := make([]byte, 16)
	if n, err := Rand().Read(b); n != 16 || err != nil {
		t.Fatal(n, err)
	}
}
