//go:build !linux

package sys

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

func freeBytes(st *unix.Statfs_t) int64 { return int64(st.Bavail) * int64(st.Bsize) }

// WriteVAt writes buffer by buffer: not every system has pwritev.
func (o *osFile) WriteVAt(bufs [][]byte, off int64) (int64, error) {
	var done int64
	for _, b := range bufs {
		n, err := o.f.WriteAt(b, off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
		if n < len(b) {
			return done, io.ErrShortWrite
		}
	}
	return done, nil
}

// Sync is os.File.Sync, which asks for a full flush where the system tells
// the two apart (F_FULLFSYNC).
func (o *osFile) Sync() error { return o.f.Sync() }

func (osFS) OpenDirect(name string) (File, error) {
	return nil, fmt.Errorf("open %s past the page cache: %w", name, errors.ErrUnsupported)
}
