package sys

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	// WriteVAt writes the buffers one after the other at off, with one
	// system call where the system has it. It writes all of them or
	// returns an error and how many bytes it got rid of.
	WriteVAt(bufs [][]byte, off int64) (int64, error)
	// Sync makes everything written so far durable (fdatasync). After an
	// error the state of the file on disk is unknown: do not retry.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// FS is a file system. Names are paths as the os package takes them.
type FS interface {
	// Open opens a file; flag is made of the os.O_ constants.
	Open(name string, flag int, perm fs.FileMode) (File, error)
	// OpenDirect opens a file for reading past the page cache, so that
	// the bytes are the disk's and not those of a cache that the disk
	// may never have received. The error wraps errors.ErrUnsupported
	// where the file system cannot do that.
	OpenDirect(name string) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	// ReadDir gives the names in a folder, sorted.
	ReadDir(name string) ([]string, error)
	MkdirAll(name string, perm fs.FileMode) error
	// SyncDir makes what was created, renamed and removed in the folder
	// durable.
	SyncDir(name string) error
	// Stat gives the size in bytes; the error of a file that is not
	// there wraps fs.ErrNotExist.
	Stat(name string) (size int64, err error)
	// Free gives the bytes that an unprivileged writer can still use on
	// the file system that holds dir.
	Free(dir string) (bytes int64, err error)
	// Lock takes the exclusive lock of a file, which is created if need
	// be. It fails at once with ErrLocked when another holds it. The lock
	// ends with Close or with the process.
	Lock(name string) (io.Closer, error)
}

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// IsFull tells whether err means that there is no room: the disk or the quota
// is used up. Such an error of a write says nothing bad about the disk.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Rand gives the system's cryptographic random bytes.
func Rand() io.Reader { return rand.Reader }
