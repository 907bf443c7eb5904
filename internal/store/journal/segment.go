package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Names in the journal's folder. A file gets its final name only when it is
// whole, so what ends in tmpSuffix at Open is the leftover of a crash.
const (
	lockName    = "lock"
	storeName   = "store"
	reserveName = "reserve"
	markName    = "mark"
	tornName    = "lost+torn"
	tmpSuffix   = ".tmp"

	filePerm = 0o600
	dirPerm  = 0o700
)

// segment is what the journal knows of a segment file. Guarded by Journal.mu;
// id, kind, created, sources and mix never change.
type segment struct {
	id      SegmentID
	kind    Kind
	created int64
	mix     uint64
	sources []SegmentID

	size        int64 // where the records end; of the active one: the durable end
	first, last LSN
	durable     LSN // last durable LSN that is known from it
	active      bool
	sealed      bool
	damaged     bool
	// states are the State records, if statesKnown.
	states      []stateRef
	statesKnown bool
}

// stateRef is where a State record lies.
type stateRef struct {
	asOf, lsn LSN
	seg       SegmentID
	off       int64
}

func (j *Journal) path(name string) string { return filepath.Join(j.o.Dir, name) }

func (j *Journal) segmentPath(id SegmentID) string { return j.path("s" + id.String()) }

// parseSegmentName reads the name of a segment file.
func parseSegmentName(name string) (SegmentID, bool) {
	if len(name) != 17 || name[0] != 's' {
		return 0, false
	}
	n, err := strconv.ParseUint(name[1:], 16, 64)
	if err != nil || "s"+SegmentID(n).String() != name {
		return 0, false
	}
	return SegmentID(n), true
}

// newSegmentID gives an id that was never used: its epoch is this run's.
func (j *Journal) newSegmentID() SegmentID {
	return SegmentID(uint64(j.epoch)<<counterBits | j.segments.Add(1))
}

// newTemp makes the file of a new segment under its temporary name.
func (j *Journal) newTemp(id SegmentID) (sys.File, error) {
	return j.o.FS.Open(j.segmentPath(id)+tmpSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
}

// publish gives a segment that is whole and synced its name, durably.
func (j *Journal) publish(ids ...SegmentID) error {
	for _, id := range ids {
		if err := j.o.FS.Rename(j.segmentPath(id)+tmpSuffix, j.segmentPath(id)); err != nil {
			return err
		}
	}
	return syncFailed(j.o.FS.SyncDir(j.o.Dir))
}

// createLog makes an empty log segment, durably: nothing may be acknowledged
// from a file whose name could vanish.
func (j *Journal) createLog(first, durable LSN) (*segment, sys.File, error) {
	id := j.newSegmentID()
	head := segmentHeader{
		kind: KindLog, store: j.store, id: id, created: j.o.Clock.Now().UnixNano(),
		first: first, durable: durable,
	}
	f, err := j.newTemp(id)
	if err != nil {
		return nil, nil, fmt.Errorf("create segment %s: %w", id, err)
	}
	_, err = f.WriteAt(head.block(), 0)
	if err == nil {
		err = syncFailed(f.Sync())
	}
	if err == nil {
		err = j.publish(id)
	}
	if err != nil {
		_ = f.Close()
		_ = j.o.FS.Remove(j.segmentPath(id) + tmpSuffix)
		return nil, nil, fmt.Errorf("create segment %s: %w", id, err)
	}
	return j.segmentOf(head, blockSize), f, nil
}

// segmentOf makes the entry of a segment from its header.
func (j *Journal) segmentOf(h segmentHeader, size int64) *segment {
	return &segment{
		id: h.id, kind: h.kind, created: h.created, mix: mixOf(h.store, h.id), sources: h.sources,
		size: size, first: h.first, durable: h.durable,
	}
}

// add puts a segment into the table.
func (j *Journal) add(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.table[s.id] = s
	j.o.Metrics.segments.WithLabelValues(s.kind.String()).Inc()
}

// remove takes segments out of the table and unlinks their files. Readers that
// have them open read on.
func (j *Journal) remove(ids ...SegmentID) error {
	j.mu.Lock()
	for _, id := range ids {
		if s := j.table[id]; s != nil {
			j.o.Metrics.segments.WithLabelValues(s.kind.String()).Dec()
		}
		delete(j.table, id)
		j.removed[id] = true
	}
	j.mu.Unlock()
	for _, id := range ids {
		j.files.drop(id)
		if err := j.o.FS.Remove(j.segmentPath(id)); err != nil {
			return fmt.Errorf("remove segment %s: %w", id, err)
		}
	}
	return j.syncDir()
}

// syncDir syncs the journal's folder; a failure is final.
func (j *Journal) syncDir() error {
	if err := j.o.FS.SyncDir(j.o.Dir); err != nil {
		return j.fail(fmt.Errorf("sync folder: %w", err))
	}
	return nil
}

// lookup gives a copy of what is known of a segment.
func (j *Journal) lookup(id SegmentID) (s segment, ok bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if p := j.table[id]; p != nil {
		return *p, true
	}
	return segment{}, false
}

// list gives copies of all segments of some kinds, by id.
func (j *Journal) list(kinds ...Kind) []segment {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var out []segment
	for _, s := range j.table {
		if slices.Contains(kinds, s.kind) {
			out = append(out, *s)
		}
	}
	slices.SortFunc(out, func(a, b segment) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return out
}

// Segments gives what is known of all segments, by id.
func (j *Journal) Segments() []SegmentInfo {
	all := j.list(KindLog, KindCompacted, KindLarge)
	there := make(map[SegmentID]bool, len(all))
	for _, s := range all {
		there[s.id] = true
	}
	out := make([]SegmentInfo, 0, len(all))
	for _, s := range all {
		info := SegmentInfo{
			ID: s.id, Kind: s.kind, Size: s.size, Created: time.Unix(0, s.created).UTC(),
			First: s.first, Last: s.last, Active: s.active, Sealed: s.sealed, Damaged: s.damaged,
		}
		for _, src := range s.sources {
			if there[src] {
				info.Sources = append(info.Sources, src)
			}
		}
		out = append(out, info)
	}
	return out
}

// unreadable notes that stored bytes cannot be read.
func (j *Journal) unreadable(seg SegmentID, off int64, lsn LSN, err error) *DamageError {
	d := j.damage(seg, off, lsn, fmt.Sprintf("cannot be read: %v", err))
	d.Err = err
	return d
}

// reportedMax bounds the list of damage that was logged: beyond it, all is.
const reportedMax = 4096

// damage notes that stored bytes are bad: the segment is in quarantine from
// now on, the operator is told, once for each place.
func (j *Journal) damage(seg SegmentID, off int64, lsn LSN, what string) *DamageError {
	place := Position{Segment: seg, Offset: off}
	j.mu.Lock()
	if s := j.table[seg]; s != nil {
		s.damaged = true
	}
	known := j.reported[place]
	if len(j.reported) < reportedMax {
		j.reported[place] = true
	}
	j.mu.Unlock()
	j.o.Metrics.damage.Inc()
	if !known {
		j.o.Log.Error("stored bytes are damaged", telemetry.Segment, seg.String(), telemetry.LSN, uint64(lsn),
			telemetry.Reason, fmt.Sprintf("%s, at offset %d", what, off))
	}
	return &DamageError{LSN: lsn, Segment: seg, Offset: off, What: what}
}
