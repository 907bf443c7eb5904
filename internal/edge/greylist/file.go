package greylist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// file is where the memory is kept.
type file struct {
	fs   sys.FS
	path string
}

// fileBytesMax bounds what is read and written: the defaults make 15 MB when
// the table is full, at worst 80 MB; waiting senders beyond it are not saved.
const fileBytesMax = 256 << 20

// read returns the file's octets; the error wraps fs.ErrNotExist if there is
// none.
func (f file) read() (_ []byte, err error) {
	h, err := f.fs.Open(f.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	size, err := h.Size()
	if err != nil {
		return nil, err
	}
	if size > fileBytesMax {
		return nil, fmt.Errorf("%w: %d octets are too many", errFormat, size)
	}
	b := make([]byte, size)
	if _, err := h.ReadAt(b, 0); err != nil && size > 0 {
		return nil, err
	}
	return b, nil
}

// write replaces the file, whole or not at all, durably.
func (f file) write(b []byte) error {
	fresh := f.path + ".new"
	h, err := f.fs.Open(fresh, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(b, 0)
	if err == nil {
		err = h.Sync()
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return err
	}
	if err := f.fs.Rename(fresh, f.path); err != nil {
		return err
	}
	return f.fs.SyncDir(path.Dir(f.path))
}

// load takes over what the file holds and tells whether it did.
func (t *Table) load() bool {
	b, err := t.file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var s snapshot
	if err == nil {
		s, err = decode(b)
	}
	if err != nil {
		aside := t.file.path + ".aside"
		t.o.Log.Error("the greylist cannot be used and begins anew: some senders will be delayed once more",
			telemetry.Path, t.file.path, telemetry.Reason, "it is kept as "+path.Base(aside), telemetry.Err, err)
		if err := t.file.fs.Rename(t.file.path, aside); err != nil {
			t.o.Log.Warn("set the greylist aside", telemetry.Path, aside, telemetry.Err, err)
		}
		return false
	}
	t.restore(s)
	return true
}

func (t *Table) restore(s snapshot) {
	t.secret = s.secret
	for _, k := range s.known {
		t.known.put(k.name, k.seen)
	}
	for _, w := range s.waiters {
		t.queue.add(&w)
		if t.queue.count > t.o.MaxWaiting { // the bound was lowered
			t.queue.remove(t.queue.first)
		}
	}
	t.tally = s.tally
}

// save writes the file if anything changed since it was last written.
func (t *Table) save() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if !t.dirty.Swap(false) {
		return nil
	}
	if err := t.file.write(t.encode()); err != nil {
		t.dirty.Store(true)
		return fmt.Errorf("write %s: %w", path.Base(t.file.path), err)
	}
	return nil
}

// waiterOctetsMax is more than one takes in the file.
const waiterOctetsMax = 2048

// waitersAtOnce are encoded under one lock, so that no attempt waits for all.
const waitersAtOnce = 500

// encode writes down everything. Senders that come meanwhile may or may not be
// in it.
func (t *Table) encode() []byte {
	e := newEncoder(t.secret, t.known.all())
	t.mu.Lock()
	all := make([]*waiter, 0, t.queue.count)
	for w := t.queue.first; w != nil; w = w.next {
		all = append(all, w)
	}
	e.tally(&t.tally)
	t.mu.Unlock()
	for len(all) > 0 {
		n := min(len(all), waitersAtOnce)
		t.mu.Lock()
		for _, w := range all[:n] {
			if w.in && len(e.b) < fileBytesMax-waiterOctetsMax {
				e.waiter(w)
			}
		}
		t.mu.Unlock()
		all = all[n:]
	}
	return e.finish()
}
