package journal

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Replay gives the durable records after an LSN to fn, each once, in LSN
// order; State records come at their as-of LSN and only if that is later than
// after. When it returns nil the caller has everything up to Durable. Damaged
// records are logged and passed over. fn's error ends it. It uses the memory
// of one record and of a read buffer per segment that is due, whatever the
// size of the journal.
func (j *Journal) Replay(ctx context.Context, after LSN, fn func(Record) error) error {
	j.layout.RLock()
	defer j.layout.RUnlock()
	logs, compacted := j.list(KindLog), j.list(KindCompacted)
	states, err := j.statesAfter(after, slices.Concat(logs, compacted))
	if err != nil {
		return err
	}
	m, err := j.newMerge(segmentsAfter(logs, after), compactedAfter(compacted, after), false, j.passOver)
	if err != nil {
		return err
	}
	defer m.close()
	for {
		c, err := m.next()
		if err != nil && err != io.EOF {
			return err
		}
		if e := ctx.Err(); e != nil {
			return e
		}
		for len(states) > 0 && (err == io.EOF || states[0].asOf < c.rec.h.lsn) {
			if e := j.replayState(states[0], fn); e != nil {
				return e
			}
			states = states[1:]
		}
		if err == io.EOF {
			return nil
		}
		if c.rec.h.lsn > after && c.rec.h.typ != TypeState {
			if err := fn(c.rec.record(c.seg.id)); err != nil {
				return err
			}
		}
		if err := m.step(c); err != nil {
			return err
		}
	}
}

// passOver notes a bad record.
func (j *Journal) passOver(seg segment, bad *badRecord) {
	j.damage(seg.id, bad.off, bad.lsn, bad.what)
}

// segmentsAfter leaves out the log segments that end at or before an LSN,
// which the first LSN of the next one tells.
func segmentsAfter(logs []segment, after LSN) []segment {
	from := 0
	for i := 1; i < len(logs); i++ {
		if logs[i].first != 0 && logs[i].first <= after+1 {
			from = i
		}
	}
	return logs[from:]
}

// compactedAfter leaves out the compacted segments that end at or before an
// LSN.
func compactedAfter(all []segment, after LSN) []segment {
	return slices.DeleteFunc(slices.Clone(all), func(s segment) bool { return s.sealed && s.last <= after })
}

// statesAfter finds the State records whose as-of LSN is after one, in replay
// order. Sealed segments list theirs, the others are read through.
func (j *Journal) statesAfter(after LSN, segs []segment) ([]stateRef, error) {
	var all []stateRef
	for _, s := range segs {
		if s.sealed && s.last <= after {
			continue
		}
		states := s.states
		if !s.statesKnown {
			var err error
			if states, err = j.findStates(s); err != nil {
				return nil, err
			}
		}
		for _, r := range states {
			if r.asOf > after {
				all = append(all, r)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b stateRef) int {
		switch {
		case a.asOf != b.asOf && a.asOf < b.asOf, a.asOf == b.asOf && a.lsn < b.lsn:
			return -1
		case a == b || a.asOf == b.asOf && a.lsn == b.lsn:
			return 0
		}
		return 1
	})
	return slices.CompactFunc(all, func(a, b stateRef) bool { return a.lsn == b.lsn }), nil
}

// findStates reads a segment for its State records. Damage is left to those
// who read it for the records.
func (j *Journal) findStates(s segment) ([]stateRef, error) {
	c := &cursor{j: j, segs: []segment{s}, onBad: func(segment, *badRecord) {}}
	defer c.close()
	var states []stateRef
	for {
		if err := c.advance(); err != nil {
			return nil, err
		}
		if c.end {
			return states, nil
		}
		if c.rec.h.typ == TypeState {
			states = append(states, stateRef{c.rec.ext.asOf, c.rec.h.lsn, s.id, c.rec.off})
		}
	}
}

// replayState gives one State record.
func (j *Journal) replayState(r stateRef, fn func(Record) error) error {
	rec, err := j.ReadRecord(Position{Segment: r.seg, Offset: r.off})
	var damaged *DamageError
	if errors.As(err, &damaged) {
		j.o.Log.Error("state record passed over", telemetry.LSN, uint64(r.lsn), telemetry.Err, err)
		return nil
	}
	if err != nil {
		return err
	}
	return fn(rec)
}
