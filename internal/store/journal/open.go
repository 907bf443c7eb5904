package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Open opens the journal in a folder, which is made if need be: it takes the
// lock (sys.ErrLocked if another process has it), raises the epoch and
// recovers what the last run left. Afterwards Replay and the reading methods
// work; Start makes it accept.
func Open(o Options) (*Journal, error) {
	o = o.withDefaults()
	if o.Dir == "" {
		return nil, errors.New("journal: no folder given")
	}
	j := &Journal{o: o, table: make(map[SegmentID]*segment), removed: make(map[SegmentID]bool), reported: make(map[Position]bool)}
	j.files = newFiles(o.FS, o.OpenFiles)
	j.requests.New = func() any { return &request{done: make(chan struct{}, 1)} }
	j.buffers.New = func() any { b := make([]byte, 0, largeBuffer); return &b }
	j.queue.init(o.GroupBytes)
	if err := j.makeDir(); err != nil {
		return nil, fmt.Errorf("make journal folder: %w", err)
	}
	lock, err := o.FS.Lock(j.path(lockName))
	if err != nil {
		return nil, fmt.Errorf("lock journal: %w", err)
	}
	j.lock = lock
	if err := j.load(); err != nil {
		j.files.close()
		_ = lock.Close()
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

// load finds the segments and recovers.
func (j *Journal) load() error {
	start := j.o.Clock.Now()
	ids, err := j.findSegments()
	if err != nil {
		return err
	}
	heads := make(map[SegmentID]segmentHeader)
	for _, id := range ids {
		h, err := j.readSegmentHeader(id)
		switch {
		case err == nil:
			heads[id] = h
		case !errors.Is(err, errSegmentHeader):
			return fmt.Errorf("segment %s: %w", id, err)
		}
	}
	if err := j.raiseEpoch(ids, heads); err != nil {
		return err
	}
	var last *segment
	for _, id := range ids {
		s, err := j.loadSegment(id, heads)
		if err != nil {
			return fmt.Errorf("segment %s: %w", id, err)
		}
		j.add(s)
		if s.kind == KindLog {
			last = s
		}
	}
	if err := j.recover(last); err != nil {
		return err
	}
	for _, s := range j.list(KindLog, KindCompacted) {
		j.durable.Store(max(j.durable.Load(), uint64(max(s.durable, s.last))))
	}
	if j.o.Applied > j.Durable() {
		j.o.Log.Error("a view is ahead of the journal: records are missing",
			telemetry.LSN, uint64(j.o.Applied))
	}
	j.found.Took = j.o.Clock.Now().Sub(start)
	j.o.Metrics.durable.Set(float64(j.durable.Load()))
	j.o.Log.Info("journal opened", telemetry.Count, len(ids), telemetry.LSN, j.durable.Load(),
		telemetry.State, map[bool]string{true: "clean", false: "recovered"}[j.found.Clean],
		telemetry.Dur, j.found.Took)
	return nil
}

// findSegments gives the ids of the segment files, ascending, and removes what
// a crash left unfinished.
func (j *Journal) findSegments() ([]SegmentID, error) {
	names, err := j.o.FS.ReadDir(j.o.Dir)
	if err != nil {
		return nil, err
	}
	var ids []SegmentID
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			if err := j.o.FS.Remove(j.path(name)); err != nil {
				return nil, fmt.Errorf("remove leftover: %w", err)
			}
			continue
		}
		if id, ok := parseSegmentName(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (j *Journal) readSegmentHeader(id SegmentID) (segmentHeader, error) {
	b, err := j.readFile(j.segmentPath(id), blockSize)
	if err != nil {
		return segmentHeader{}, err
	}
	h, err := parseSegmentHeader(b)
	if err == nil && h.id != id {
		err = errSegmentHeader
	}
	return h, err
}

// loadSegment makes the entry of a segment. A bad header costs the segment
// nothing but its header: what it is can be seen from its first record.
func (j *Journal) loadSegment(id SegmentID, heads map[SegmentID]segmentHeader) (*segment, error) {
	f, err := j.o.FS.Open(j.segmentPath(id), 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	h, ok := heads[id]
	ok = ok && h.store == j.store
	if !ok {
		h = segmentHeader{kind: KindLog, id: id, store: j.store}
		b := make([]byte, headSize)
		if _, err := f.ReadAt(b, blockSize); err == nil {
			if r, err := parseHeader(b); err == nil && r.mix == mixOf(j.store, id) {
				h.kind, h.first = kindOf(r), r.lsn
			}
		}
		j.damage(id, 0, 0, errSegmentHeader.Error())
	}
	s := j.segmentOf(h, max(size, blockSize))
	s.damaged = !ok
	if h.kind != KindLarge {
		j.loadSeal(f, s)
	}
	return s, nil
}

// kindOf guesses the kind of a segment from its first record.
func kindOf(h header) Kind {
	switch {
	case h.typ == TypeLargeBody:
		return KindLarge
	case h.moved:
		return KindCompacted
	}
	return KindLog
}

// Tags of a seal's envelope.
const (
	sealCount    = 1 // records before the seal
	sealState    = 2 // a State record: as-of LSN, LSN, offset
	sealUnlisted = 3 // there were too many State records to list
)

const (
	// sealStatesMax bounds the list of State records in a seal.
	sealStatesMax = 1024
	// sealMax is more than a seal can take.
	sealMax = 64 << 10
)

// sealEnvelope makes the envelope of a seal.
func sealEnvelope(count uint64, states []stateRef) []byte {
	b := AppendUint(nil, sealCount, count)
	if len(states) > sealStatesMax {
		return AppendUint(b, sealUnlisted, 1)
	}
	for _, s := range states {
		var v [24]byte
		binary.LittleEndian.PutUint64(v[0:], uint64(s.asOf))
		binary.LittleEndian.PutUint64(v[8:], uint64(s.lsn))
		binary.LittleEndian.PutUint64(v[16:], uint64(s.off))
		b = AppendField(b, sealState, v[:])
	}
	return b
}

// parseSeal reads the envelope of a seal.
func parseSeal(b []byte, seg SegmentID) (count uint64, states []stateRef, listed bool, err error) {
	listed = true
	err = ParseFields(b, func(tag uint64, v []byte) error {
		switch {
		case tag == sealCount:
			count, _ = Uint(v)
		case tag == sealUnlisted:
			listed = false
		case tag == sealState && len(v) == 24:
			le := binary.LittleEndian
			states = append(states, stateRef{LSN(le.Uint64(v)), LSN(le.Uint64(v[8:])), seg, int64(le.Uint64(v[16:]))})
		}
		return nil
	})
	return count, states, listed, err
}

// loadSeal looks for a seal that ends where the file ends, and takes over what
// it says.
func (j *Journal) loadSeal(f sys.File, s *segment) {
	for _, span := range []int64{blockSize, sealMax} {
		from := max(blockSize, (s.size-span)&^(align-1))
		b := make([]byte, max(0, s.size-from))
		if n, err := f.ReadAt(b, from); n < len(b) && err != io.EOF {
			return
		}
		for at := (len(b) - headSize) &^ (align - 1); at >= 0; at -= align {
			if binary.LittleEndian.Uint32(b[at:]) != recordMagic {
				continue
			}
			sc := newScanner(f, s.mix, from+int64(at), s.size)
			rec, err := sc.next(true)
			if err != nil || rec.h.typ != TypeSeal || sc.off != s.size {
				continue
			}
			_, states, listed, err := parseSeal(rec.env, s.id)
			if err != nil {
				return
			}
			s.sealed, s.last, s.durable = true, rec.h.lsn, max(s.durable, rec.h.lsn)
			s.states, s.statesKnown = states, listed
			return
		}
		if from == blockSize {
			return
		}
	}
}
