package restraint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// file is where what was learned is kept.
type file struct {
	fs   sys.FS
	path string
}

// fileBytesMax bounds what is read and written: the defaults make 24 MB when
// all is full, the largest options 500 MB.
const fileBytesMax = 1 << 30

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
func (r *Restraint) load() bool {
	b, err := r.file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var s snapshot
	if err == nil {
		s, err = decode(b)
	}
	if err != nil {
		aside := r.file.path + ".aside"
		r.o.Log.Error("what accounts usually send cannot be read and is learned anew",
			telemetry.Path, r.file.path, telemetry.Reason, "it is kept as "+path.Base(aside), telemetry.Err, err)
		if err := r.file.fs.Rename(r.file.path, aside); err != nil {
			r.o.Log.Warn("set it aside", telemetry.Path, aside, telemetry.Err, err)
		}
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = s.secret
	for _, b := range s.books { // the oldest first
		r.books[b.id] = b
		r.recent.push(b)
		r.names += len(b.known) + len(b.heard)
	}
	r.shrink()
	return true
}

// save writes the file if anything changed since it was last written.
func (r *Restraint) save() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	var b []byte
	if r.dirty {
		b = r.encode()
	}
	r.dirty = false
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	if err := r.file.write(b); err != nil {
		r.mu.Lock()
		r.dirty = true
		r.mu.Unlock()
		return fmt.Errorf("write %s: %w", path.Base(r.file.path), err)
	}
	return nil
}
