package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// storeFile is the content of the file "store": who the store is and how often
// it was started.
type storeFile struct {
	store StoreID
	epoch uint32
}

const (
	storeMagic    = "BWSTORE1"
	storeFileSize = 64
	// epochMax is the last epoch that fits into an LSN: sixteen million
	// starts.
	epochMax = 1<<24 - 1
)

var errStoreFile = errors.New("checksum of the store file")

func (s storeFile) bytes() []byte {
	b := make([]byte, storeFileSize)
	copy(b, storeMagic)
	copy(b[8:], s.store[:])
	binary.LittleEndian.PutUint32(b[24:], s.epoch)
	binary.LittleEndian.PutUint32(b[storeFileSize-4:], checksum(b[:storeFileSize-4]))
	return b
}

// parseStoreFile reads the file "store".
func parseStoreFile(b []byte) (s storeFile, err error) {
	if len(b) != storeFileSize || string(b[:8]) != storeMagic ||
		binary.LittleEndian.Uint32(b[storeFileSize-4:]) != checksum(b[:storeFileSize-4]) {
		return s, errStoreFile
	}
	s.store = StoreID(b[8:24])
	s.epoch = binary.LittleEndian.Uint32(b[24:])
	return s, nil
}

// readFile reads a small file.
func (j *Journal) readFile(path string, max int64) ([]byte, error) {
	f, err := j.o.FS.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, max))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// writeFile replaces a small file so that after a crash either the old or the
// new content is there.
func (j *Journal) writeFile(path string, b []byte) error {
	f, err := j.o.FS.Open(path+tmpSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = j.o.FS.Rename(path+tmpSuffix, path)
	}
	if err == nil {
		err = j.o.FS.SyncDir(filepath.Dir(path))
	}
	return err
}

// makeDir makes the journal's folder. Until the store file tells that a first
// start got through, every folder above is synced too, made by this start or
// not: an earlier one may have died after making it. One that we may not read
// was there before us.
func (j *Journal) makeDir() error {
	if err := j.o.FS.MkdirAll(j.o.Dir, dirPerm); err != nil {
		return err
	}
	if _, err := j.o.FS.Stat(j.path(storeName)); err == nil {
		return nil
	}
	for at := j.o.Dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		err := j.o.FS.SyncDir(filepath.Dir(at))
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// raiseEpoch makes the epoch of this run durable before any LSN or segment id
// is made from it. Segment names tell the epoch as well, so a lost store file
// does not bring an old epoch back.
func (j *Journal) raiseEpoch(ids []SegmentID, heads map[SegmentID]segmentHeader) error {
	var old storeFile
	b, err := j.readFile(j.path(storeName), storeFileSize+1)
	switch {
	case err == nil:
		if old, err = parseStoreFile(b); err != nil {
			j.o.Log.Error("store file is damaged, made anew from the segments")
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read store file: %w", err)
	}
	if old.store == (StoreID{}) {
		for _, id := range ids {
			if h, ok := heads[id]; ok {
				old.store = h.store
			}
		}
	}
	if old.store == (StoreID{}) {
		if _, err := io.ReadFull(j.o.Rand, old.store[:]); err != nil {
			return fmt.Errorf("make store id: %w", err)
		}
	}
	for _, id := range ids {
		old.epoch = max(old.epoch, uint32(id>>counterBits))
	}
	if old.epoch >= epochMax {
		return fmt.Errorf("journal was started %d times, which is the limit of the format", epochMax)
	}
	j.store, j.epoch = old.store, old.epoch+1
	b = storeFile{j.store, j.epoch}.bytes()
	err = j.withReserve(func() error { return j.writeFile(j.path(storeName), b) })
	if err != nil {
		return fmt.Errorf("raise the epoch: %w", err)
	}
	return nil
}
