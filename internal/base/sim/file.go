package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// file is an open file of a Disk.
type file struct {
	d      *Disk
	n      *node
	gen    int
	write  bool
	direct bool
	closed bool
}

func (d *Disk) handle(n *node, write bool) *file {
	return &file{d: d, n: n, gen: d.gen, write: write}
}

// usable tells why the handle cannot be used, if so.
func (f *file) usable(write bool) error {
	switch {
	case f.gen != f.d.gen:
		return ErrCrashed
	case f.closed:
		return &fs.PathError{Op: "use", Path: f.n.name, Err: fs.ErrClosed}
	case write && !f.write:
		return &fs.PathError{Op: "write", Path: f.n.name, Err: syscall.EBADF}
	}
	return nil
}

// ReadAt is sys.File. A direct file reads what the medium has once the dirty
// pages are written back.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(false); err != nil {
		return 0, err
	}
	if err := f.d.enter("read", f.n.name); err != nil {
		return 0, err
	}
	from := &f.n.data
	if f.direct && f.n.diverged {
		medium := f.n.medium.clone()
		for _, c := range f.n.pending {
			medium.apply(c)
		}
		from = &medium
	}
	if off >= from.size {
		return 0, io.EOF
	}
	n := from.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt is sys.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WriteVAt([][]byte{p}, off)
	return int(n), err
}

// WriteVAt is sys.File.
func (f *file) WriteVAt(bufs [][]byte, off int64) (int64, error) {
	all := []byte{} // not nil, which would be a truncation
	for _, b := range bufs {
		all = append(all, b...)
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(true); err != nil {
		return 0, err
	}
	err, effect := f.d.change("write", f.n.name, fmt.Sprintf(" %d+%d", off, len(all)))
	if err != nil {
		if effect && len(all) > 0 {
			// Some of it got there.
			f.put(change{off, all[:f.d.rng.IntN(len(all)+1)]})
		}
		return 0, err
	}
	grow := off + int64(len(all)) - f.n.data.size
	if f.d.room >= 0 && grow > f.d.room {
		fits := int64(len(all)) - (grow - f.d.room)
		if fits > 0 {
			f.put(change{off, all[:fits]})
		}
		return max(fits, 0), &fs.PathError{Op: "write", Path: f.n.name, Err: syscall.ENOSPC}
	}
	f.put(change{off, all})
	return int64(len(all)), nil
}

// put makes a change visible but not durable.
func (f *file) put(c change) {
	if c.data != nil && len(c.data) == 0 {
		return
	}
	before := f.n.data.size
	f.n.data.apply(c)
	f.n.pending = append(f.n.pending, c)
	if f.d.room >= 0 {
		f.d.room = max(0, f.d.room-(f.n.data.size-before))
	}
}

// Sync is sys.File. When it is made to fail, the medium gets some of the
// changes, and the others are forgotten: they can be read, but no later Sync
// writes them.
func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(false); err != nil {
		return err
	}
	err, effect := f.d.change("sync", f.n.name, "")
	if f.d.crashed && !effect {
		return err
	}
	failed := err != nil && !errors.Is(err, ErrCrashed)
	for _, c := range f.n.pending {
		if !failed || f.d.rng.IntN(2) == 0 {
			f.n.medium.apply(c)
		}
	}
	f.n.pending = nil
	f.n.diverged = f.n.diverged || failed
	return err
}

// Truncate is sys.File.
func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(true); err != nil {
		return err
	}
	return f.truncate(size)
}

func (f *file) truncate(size int64) error {
	err, effect := f.d.change("truncate", f.n.name, fmt.Sprintf(" %d", size))
	if effect {
		f.put(change{off: size})
	}
	return err
}

// Size is sys.File.
func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(false); err != nil {
		return 0, err
	}
	return f.n.data.size, nil
}

// Close is sys.File.
func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(false); err != nil {
		return err
	}
	f.closed = true
	return nil
}
