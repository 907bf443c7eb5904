package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	// tornFileMax bounds what is saved of one torn tail: two groups, the
	// most that can be in flight, fit.
	tornFileMax = 32 << 20
	// tornFilesMax bounds how many such files are kept.
	tornFilesMax = 8
)

// tailItem is a stretch of the last log segment: one record, or bytes that are
// none.
type tailItem struct {
	off, end int64
	lsn      LSN // 0 if the header cannot be believed
	durable  LSN
	asOf     LSN
	typ      Type
	good     bool
}

// tail is what recovery makes of the last log segment.
type tail struct {
	end     int64 // where the records end
	last    LSN
	known   LSN        // what was durable for certain
	kept    []tailItem // whole records past known
	damaged []tailItem
	states  []stateRef
}

// recover mends the last log segment after a stop that was not in order.
func (j *Journal) recover(last *segment) error {
	if last == nil {
		j.found.Clean = true
		return nil
	}
	m := j.readMark()
	failed := m.failed && m.segment == last.id
	f, err := j.o.FS.Open(j.segmentPath(last.id), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if last.sealed && !failed {
		// The process may have died between writing the seal and syncing
		// it: a seal must not be believed before it is durable.
		j.found.Clean = true
		return f.Sync()
	}
	items, direct, err := j.readTail(f, last)
	if err != nil {
		return fmt.Errorf("read the tail of segment %s: %w", last.id, err)
	}
	known := max(last.durable, j.o.Applied, m.durable)
	if failed {
		known = m.durable
	}
	t := decide(items, last.first, known, failed)
	for _, d := range t.damaged {
		j.damage(last.id, d.off, d.lsn, "record before durable ones")
	}
	if err := j.cutTail(f, last, &t); err != nil {
		return fmt.Errorf("cut the tail of segment %s: %w", last.id, err)
	}
	j.found.Segment, j.found.Kept = last.id, len(t.kept)
	j.mu.Lock()
	last.size, last.last, last.sealed = t.end, t.last, false
	last.durable = max(last.durable, t.last)
	last.states, last.statesKnown = t.states, len(t.damaged) == 0
	j.mu.Unlock()
	if !direct && len(t.kept) > 0 {
		if err := j.copyTail(f, last, t.kept); err != nil {
			return fmt.Errorf("copy the tail of segment %s: %w", last.id, err)
		}
	}
	return nil
}

// readTail scans the segment. It reads past the page cache where it can: after
// a failed fdatasync the cache holds pages that the disk never got, and calls
// them clean.
func (j *Journal) readTail(f sys.File, s *segment) (items []tailItem, direct bool, err error) {
	d, err := j.o.FS.OpenDirect(j.segmentPath(s.id))
	if err == nil {
		items, err = scanTail(d, s)
		if e := d.Close(); err == nil {
			err = e
		}
		if err == nil {
			return items, true, nil
		}
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		j.o.Log.Warn("cannot read past the page cache", telemetry.Segment, s.id.String(), telemetry.Err, err)
	}
	items, err = scanTail(f, s)
	return items, false, err
}

// scanTail lists what is in the segment. Bytes that cannot be read are an
// error here: nothing is cut because of a bad cable.
func scanTail(r io.ReaderAt, s *segment) ([]tailItem, error) {
	var items []tailItem
	sc := newScanner(r, s.mix, blockSize, s.size)
	for {
		rec, err := sc.next(true)
		if err == io.EOF {
			return items, nil
		}
		var bad *badRecord
		if errors.As(err, &bad) {
			if bad.err != nil {
				return nil, bad.err
			}
			sc.skip(bad)
			items = append(items, tailItem{off: bad.off, end: sc.off, lsn: bad.lsn, durable: bad.dur, typ: bad.typ})
			continue
		}
		items = append(items, tailItem{
			off: rec.off, end: sc.off, lsn: rec.h.lsn, durable: rec.h.durable,
			typ: rec.h.typ, asOf: rec.ext.asOf, good: !rec.tableBad,
		})
	}
}

// decide tells where the log ends. A bad record is a torn tail, and the end,
// unless something that was durable is at or behind it: then it is damage of
// the medium, which costs that record only and is never cut. If exact, known
// is what was durable when the last run failed, and everyone behind it was
// refused.
func decide(items []tailItem, first, known LSN, exact bool) tail {
	if !exact {
		for _, it := range items {
			known = max(known, it.durable)
		}
	}
	t := tail{end: blockSize, known: known}
	prev, loose := first-1, false
	if first == 0 {
		prev, loose = 0, true
	}
	for _, it := range items {
		if exact && it.lsn > known {
			break
		}
		seal := it.good && it.typ == TypeSeal && it.lsn == prev && !exact
		next := it.good && (it.lsn == prev+1 || loose && it.lsn > prev && (it.lsn <= known+1 || known == 0))
		switch {
		case seal:
		case next:
			t.accept(it, known)
			prev, loose = it.lsn, false
		case prev < known && it.lsn <= known:
			t.damaged = append(t.damaged, it)
			loose = true
			if it.good && it.lsn > prev {
				t.accept(it, known)
			}
			prev = max(prev, it.lsn)
		default:
			return t
		}
		t.end, t.last = it.end, max(t.last, prev)
	}
	return t
}

// accept takes a whole record into the log.
func (t *tail) accept(it tailItem, known LSN) {
	if it.lsn > known {
		t.kept = append(t.kept, it)
	}
	if it.typ == TypeState {
		t.states = append(t.states, stateRef{asOf: it.asOf, lsn: it.lsn, off: it.off})
	}
}

// cutTail saves and cuts what is behind the log's end and syncs the rest: it
// may have been in the page cache only, and is about to be shown to people.
func (j *Journal) cutTail(f sys.File, s *segment, t *tail) error {
	for i := range t.states {
		t.states[i].seg = s.id
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size > t.end {
		j.found.CutAt, j.found.Cut = t.end, size-t.end
		j.found.SavedIn = j.saveTorn(f, s.id, t.end, size)
		j.o.Metrics.torn.Add(float64(size - t.end))
		j.o.Log.Warn("torn tail cut", telemetry.Segment, s.id.String(), telemetry.LSN, uint64(t.last),
			telemetry.Size, size-t.end, telemetry.Path, j.found.SavedIn)
		if err := f.Truncate(t.end); err != nil {
			return err
		}
	}
	return f.Sync()
}

// saveTorn keeps the bytes of a torn tail for whoever wants to look at them.
// It gives the file's name, or none if it did not work: these bytes were never
// acknowledged, so that is no reason to stop.
func (j *Journal) saveTorn(f sys.File, id SegmentID, from, to int64) string {
	dir := j.path(tornName)
	b := make([]byte, min(to-from, tornFileMax))
	n, err := f.ReadAt(b, from)
	if err == io.EOF {
		err = nil
	}
	name := fmt.Sprintf("%s/%s-%012x", dir, id, from)
	if err == nil {
		err = j.o.FS.MkdirAll(dir, dirPerm)
	}
	if err == nil {
		err = j.o.FS.SyncDir(j.o.Dir)
	}
	if err == nil {
		err = j.writeFile(name, b[:n])
	}
	var names []string
	if err == nil {
		names, err = j.o.FS.ReadDir(dir)
	}
	for i := 0; err == nil && i < len(names)-tornFilesMax; i++ {
		err = j.o.FS.Remove(dir + "/" + names[i])
	}
	if err != nil {
		j.o.Log.Warn("torn tail not saved", telemetry.Path, name, telemetry.Err, err)
		return ""
	}
	return name
}
