package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a small file, such as a key or a configuration, whole or
// not at all, and durably: after a power cut it has its old content or the new
// one. Folders that are missing are made. It works on the operating system's
// files only.
func WriteFile(name string, b []byte, mode fs.FileMode) error {
	dir, tmp := filepath.Dir(name), name+".new"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	err := writeSynced(tmp, b, mode)
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err == nil {
		err = OSFS().SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}

func writeSynced(name string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
