package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// Snapshot is a file in which a part of the host keeps what it remembers
// beside the journal: read whole at the start, replaced whole and durably
// while it runs. Losing it costs convenience, never mail, so a file that is
// damaged is set aside for whoever wants to look at it, and memory begins anew.
type Snapshot struct {
	FS        FS
	Path      string
	OctetsMax int64 // what is read at most
}

// Load hands the file's octets to use and tells whether there was such a file
// and use took it. A file that cannot be read, or that use refuses, is renamed
// to Path + ".aside"; the error says why and that.
func (s Snapshot) Load(use func([]byte) error) (bool, error) {
	b, err := s.read()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = use(b)
	}
	if err == nil {
		return true, nil
	}
	aside := s.Path + ".aside"
	if moved := s.FS.Rename(s.Path, aside); moved != nil {
		return false, fmt.Errorf("read %s: %w (and set it aside: %w)", path.Base(s.Path), err, moved)
	}
	return false, fmt.Errorf("read %s, now kept as %s: %w", path.Base(s.Path), path.Base(aside), err)
}

// read gives the file's octets; the error wraps fs.ErrNotExist if there is none.
func (s Snapshot) read() (_ []byte, err error) {
	h, err := s.FS.Open(s.Path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	size, err := h.Size()
	if err != nil {
		return nil, err
	}
	if size > s.OctetsMax {
		return nil, fmt.Errorf("%d octets are more than the %d that are read", size, s.OctetsMax)
	}
	b := make([]byte, size)
	if n, err := h.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// Replace writes the file whole or not at all, durably: after a power cut it
// has its old content or the new one. Only the owner can read it. It may not
// run beside itself.
func (s Snapshot) Replace(b []byte) error {
	if err := s.replace(b); err != nil {
		return fmt.Errorf("write %s: %w", path.Base(s.Path), err)
	}
	return nil
}

func (s Snapshot) replace(b []byte) error {
	fresh := s.Path + ".new"
	h, err := s.FS.Open(fresh, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
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
	if err := s.FS.Rename(fresh, s.Path); err != nil {
		return err
	}
	return s.FS.SyncDir(path.Dir(s.Path))
}
