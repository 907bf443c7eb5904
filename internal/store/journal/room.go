package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	// smallEntry is the most that an entry may take from the reserve:
	// flags, expunges and deletions, not mail.
	smallEntry = 64 << 10
	// roomMargin is what must be left beyond the group itself: a new
	// segment's header, a seal, the file system's own blocks.
	roomMargin = 64 << 10
)

// small tells whether an entry may be written with the last of the room: it
// may be what makes room.
func small(r *request) bool {
	return r.e.Type != TypeMessage && r.e.Large == nil && r.size <= smallEntry
}

// makeRoom sees to it that there is a segment to write to. It gives the
// requests that are to be written; others it has answered with ErrFull. After
// an error it has answered none.
func (w *writer) makeRoom(reqs []*request) ([]*request, error) {
	if w.full {
		reqs = w.ration(reqs)
		if len(reqs) == 0 {
			return nil, nil
		}
	}
	if w.seg != nil && !w.broken && w.end < w.j.o.SegmentBytes {
		return reqs, nil
	}
	err := w.rotate()
	switch {
	case err == nil:
		return reqs, nil
	case isFull(err):
		w.setFull(true)
		if w.seg != nil && !w.broken {
			// The seal may be there in part.
			if err := w.cutBack(); err != nil {
				return reqs, err
			}
		}
		if w.dropReserve() {
			return w.makeRoom(reqs)
		}
		w.refuse(reqs, fmt.Errorf("%w: %w", ErrFull, err), "full")
		return nil, nil
	}
	return reqs, w.j.fail(err)
}

// ration decides who may write while room is short: everyone once there is
// room for the reserve as well, small entries as long as they fit.
func (w *writer) ration(reqs []*request) []*request {
	free, err := w.j.o.FS.Free(w.j.o.Dir)
	if err != nil {
		w.j.o.Log.Warn("cannot ask for free space", telemetry.Err, err)
		free = 0
	}
	size := int64(0)
	for _, r := range reqs {
		size += r.size
	}
	spare := max(w.j.o.ReserveBytes, 0)
	if free >= size+roomMargin+spare {
		w.checkReserve()
		w.setFull(false)
		return reqs
	}
	var pass, stop []*request
	size = 0
	for _, r := range reqs {
		if small(r) && free >= size+r.size+roomMargin {
			pass, size = append(pass, r), size+r.size
		} else {
			stop = append(stop, r)
		}
	}
	w.refuse(stop, ErrFull, "full")
	return pass
}

// outOfRoom takes a group back that did not fit: cut what was written of it,
// undo the stamps, last one first. The LSNs are not used again: part of the
// records may be on the disk, and an LSN must never mean two things. Small
// entries get a second chance with the reserve.
func (w *writer) outOfRoom(cause error) {
	w.setFull(true)
	w.broken = true
	group := append([]*request(nil), w.group...)
	if err := w.cutBack(); err != nil {
		w.refuse(group, err, "failed")
		return
	}
	for i := len(group) - 1; i >= 0; i-- {
		w.undo(group[i])
	}
	var again []*request
	if w.dropReserve() {
		for i := 0; i < len(group); {
			if !small(group[i]) {
				i++
				continue
			}
			again = append(again, group[i])
			group = append(group[:i], group[i+1:]...)
		}
	}
	w.refuse(group, fmt.Errorf("%w: %w", ErrFull, cause), "full")
	if len(again) > 0 {
		w.commit(again)
	}
}

// cutBack truncates the active segment to its last durable record, durably:
// if what was cut could come back, an LSN would have two records.
func (w *writer) cutBack() error {
	err := w.f.Truncate(w.end)
	if err == nil {
		err = w.sync()
	}
	if err != nil {
		return w.j.fail(fmt.Errorf("cut segment %s back: %w", w.seg.id, err))
	}
	return nil
}

func (w *writer) setFull(full bool) {
	if w.full != full {
		w.j.o.Log.Warn("room on the disk", telemetry.State, map[bool]string{true: "none", false: "enough"}[full])
	}
	w.full = full
	w.j.o.Metrics.full.Set(map[bool]float64{true: 1}[full])
}

// checkReserve makes the reserve file if it is not there.
func (w *writer) checkReserve() {
	want := w.j.o.ReserveBytes
	if want <= 0 || w.reserve {
		return
	}
	if size, err := w.j.o.FS.Stat(w.j.path(reserveName)); err == nil && size == want {
		w.reserve = true
		return
	}
	err := w.j.fillReserve(want)
	if err != nil {
		_ = w.j.dropReserve()
		w.j.o.Log.Warn("no reserve file", telemetry.Err, err)
		return
	}
	w.reserve = true
}

// dropReserve gives the reserve up; it tells whether there was one.
func (w *writer) dropReserve() bool {
	if !w.reserve {
		return false
	}
	w.reserve = false
	if err := w.j.dropReserve(); err != nil {
		w.j.o.Log.Warn("reserve file not removed", telemetry.Err, err)
		return false
	}
	return true
}

// fillReserve writes the reserve file. Zeros are written, not left out, so
// that the blocks are really taken.
func (j *Journal) fillReserve(size int64) error {
	f, err := j.o.FS.Open(j.path(reserveName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) dropReserve() error {
	err := j.o.FS.Remove(j.path(reserveName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// withReserve runs fn, and once more without the reserve file if there was no
// room for it.
func (j *Journal) withReserve(fn func() error) error {
	err := fn()
	if isFull(err) && j.dropReserve() == nil {
		err = fn()
	}
	return err
}

// syncError marks the error of an fsync: whatever it says, it is not one of
// those after which the journal goes on.
type syncError struct{ error }

// Unwrap gives the error itself.
func (e syncError) Unwrap() error { return e.error }

func syncFailed(err error) error {
	if err == nil {
		return nil
	}
	return syncError{err}
}

// isFull tells whether err is want of room, met before any sync.
func isFull(err error) bool {
	var s syncError
	return sys.IsFull(err) && !errors.As(err, &s)
}
