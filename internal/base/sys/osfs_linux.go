package sys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// iovMax is how many buffers one pwritev takes (IOV_MAX of Linux).
	iovMax = 1024
	// directAlign suits every block size in use; O_DIRECT wants offset,
	// length and memory aligned to that of the device.
	directAlign = 4096
	// directReadMax bounds the aligned buffer of one direct read.
	directReadMax = 1 << 20
)

func freeBytes(st *unix.Statfs_t) int64 { return int64(st.Bavail) * int64(st.Bsize) }

// WriteVAt is pwritev, repeated for what a short write left over: the error
// of the next call is the reason for the shortness.
func (o *osFile) WriteVAt(bufs [][]byte, off int64) (int64, error) {
	var done int64
	var rest [][]byte
	for len(bufs) > 0 {
		n := min(len(bufs), iovMax)
		part := bufs[:n]
		bufs = bufs[n:]
		for len(part) > 0 {
			w, err := o.pwritev(part, off+done)
			done += int64(w)
			if err != nil {
				return done, &fs.PathError{Op: "pwritev", Path: o.f.Name(), Err: err}
			}
			part, rest = skip(part, w, rest)
		}
	}
	return done, nil
}

func (o *osFile) pwritev(part [][]byte, off int64) (n int, err error) {
	size := 0
	for _, b := range part {
		size += len(b)
	}
	if size == 0 {
		return 0, nil
	}
	raw, err := o.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		for {
			n, err = unix.Pwritev(int(fd), part, off)
			if err != unix.EINTR {
				return
			}
		}
	})
	if n < 0 {
		n = 0
	}
	if err == nil {
		err = cerr
	}
	if err == nil && n == 0 {
		err = io.ErrShortWrite
	}
	return n, err
}

// skip drops the first n bytes of bufs. The caller's slices stay as they are;
// scratch is memory for a vector that begins in the middle of a buffer.
func skip(bufs [][]byte, n int, scratch [][]byte) (left, memory [][]byte) {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n == 0 {
		return bufs, scratch
	}
	scratch = append(scratch[:0], bufs...)
	scratch[0] = scratch[0][n:]
	return scratch, scratch
}

func (o *osFile) Sync() error {
	raw, err := o.f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		for {
			err = unix.Fdatasync(int(fd))
			if err != unix.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = cerr
	}
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: o.f.Name(), Err: err}
	}
	return nil
}

func (osFS) OpenDirect(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("open %s past the page cache: %w", name, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	return &directFile{osFile{f: f}}, nil
}

// directFile reads with O_DIRECT through an aligned buffer.
type directFile struct{ osFile }

func (d *directFile) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		start := at &^ (directAlign - 1)
		want := at - start + int64(len(p)-done)
		want = min((want+directAlign-1)&^(directAlign-1), directReadMax)
		buf := aligned(int(want))
		n, err := d.f.ReadAt(buf, start)
		if errors.Is(err, unix.EINVAL) {
			return done, fmt.Errorf("read past the page cache: %w", errors.ErrUnsupported)
		}
		if lead := int(at - start); n > lead {
			done += copy(p[done:], buf[lead:n])
		}
		if done < len(p) && err != nil {
			return done, err
		}
	}
	return done, nil
}

// aligned gives n bytes whose address is a multiple of directAlign.
func aligned(n int) []byte {
	b := make([]byte, n+directAlign)
	skip := directAlign - int(uintptr(unsafe.Pointer(&b[0]))&(directAlign-1))
	return b[skip : skip+n]
}
