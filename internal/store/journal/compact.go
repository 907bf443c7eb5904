package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// movedBatch bounds the list given to one call of moved.
const movedBatch = 4096

// Compact copies the records of a segment for which keep says true into a new
// segment and removes the old one. See Merge.
func (j *Journal) Compact(ctx context.Context, seg SegmentID, keep func(Record) bool, moved func([]Moved) error) error {
	return j.Merge(ctx, []SegmentID{seg}, keep, moved)
}

// Merge copies those records of some log or compacted segments for which keep
// says true and removes the segments. Records keep their LSN and their bytes;
// every checksum is verified on the way. keep decides by what the record is,
// not by where it lies: after a crash there may be two copies, of which one is
// shown. Its Record is valid during the call only.
//
// Once the copies are durable, moved is called, at least once and perhaps
// several times, after the last call of keep. It may append, and it must make the new positions durable before it returns. Only then the old
// files are removed; a reader who has one open reads on, one who comes with an
// old position gets ErrGone. If anything fails the old segments stay, and so
// may complete copies: a later Merge of one takes in the other.
//
// A segment with a damaged record that would have been kept, or that cannot be
// told, is not compacted: the error is a *DamageError and nothing was changed.
// One merge runs at a time; appending and reading go on.
func (j *Journal) Merge(ctx context.Context, segs []SegmentID, keep func(Record) bool, moved func([]Moved) error) error {
	j.compacting.Lock()
	defer j.compacting.Unlock()
	if err := j.Err(); err != nil {
		return err
	}
	sources, err := j.sources(segs)
	if err != nil {
		return err
	}
	ids := make([]SegmentID, len(sources))
	for i, s := range sources {
		ids[i] = s.id
	}
	c := &copier{j: j, sources: ids}
	if err := j.copyRecords(ctx, sources, c, keep); err != nil {
		c.abandon()
		return fmt.Errorf("compact segment %s: %w", ids[0], j.finalError(err))
	}
	batches := slices.Collect(slices.Chunk(c.moved, movedBatch))
	if len(batches) == 0 {
		batches = append(batches, nil)
	}
	for _, batch := range batches {
		if err := moved(batch); err != nil {
			return fmt.Errorf("compact segment %s: move pointers: %w", ids[0], err)
		}
	}
	j.layout.Lock()
	defer j.layout.Unlock()
	if err := j.remove(ids...); err != nil {
		return err
	}
	// Large bodies go when no file is left that refers to them.
	if err := j.removeLarge(c.dropped); err != nil {
		return err
	}
	j.o.Log.Info("segments compacted", telemetry.Segment, ids[0].String(), telemetry.Count, len(c.moved))
	return nil
}

// finalError makes errors of syncs final and want of room ErrFull; others stay
// what they are: the copies are thrown away and nothing has happened.
func (j *Journal) finalError(err error) error {
	var s syncError
	switch {
	case errors.As(err, &s):
		return j.fail(err)
	case isFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// sources gives the segments to merge: those asked for, and whatever an
// unfinished compaction has made of them or into them.
func (j *Journal) sources(segs []SegmentID) ([]segment, error) {
	all := j.list(KindLog, KindCompacted)
	want := make(map[SegmentID]bool)
	for _, id := range segs {
		i := slices.IndexFunc(all, func(s segment) bool { return s.id == id })
		if i < 0 || all[i].active {
			return nil, fmt.Errorf("journal: segment %s cannot be compacted", id)
		}
		want[id] = true
	}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			for _, src := range s.sources {
				there := slices.ContainsFunc(all, func(o segment) bool { return o.id == src })
				if there && want[s.id] != want[src] {
					want[s.id], want[src], grown = true, true, true
				}
			}
		}
	}
	out := slices.DeleteFunc(all, func(s segment) bool { return !want[s.id] })
	if len(out) == 0 || len(out) > sourcesMax {
		return nil, fmt.Errorf("journal: %d segments cannot be compacted at once", len(out))
	}
	return out, nil
}

// copyRecords copies what is to be kept, and completes the copies.
func (j *Journal) copyRecords(ctx context.Context, sources []segment, c *copier, keep func(Record) bool) error {
	type place struct {
		seg SegmentID
		bad *badRecord
	}
	var bad []place
	m, err := j.newMerge(nil, sources, true, func(s segment, b *badRecord) {
		j.passOver(s, b)
		bad = append(bad, place{s.id, b})
	})
	if err != nil {
		return err
	}
	defer m.close()
	for {
		cur, err := m.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && len(bad) == 0 {
			err = j.copyOne(cur, c, keep)
		}
		if err == nil {
			err = m.step(cur)
		}
		if err != nil {
			return err
		}
	}
	for _, b := range bad {
		return &DamageError{LSN: b.bad.lsn, Segment: b.seg, Offset: b.bad.off, What: b.bad.what, Err: b.bad.err}
	}
	return c.finish()
}

// copyOne copies the record where a cursor stands, if it is to be kept.
func (j *Journal) copyOne(cur *cursor, c *copier, keep func(Record) bool) error {
	size := float64(cur.rec.h.size())
	if !keep(cur.rec.record(cur.seg.id)) {
		j.o.Metrics.compacted.WithLabelValues("dropped").Add(size)
		if ref := cur.rec.ext.large; ref != nil {
			c.dropped = append(c.dropped, ref.segment)
		}
		return nil
	}
	j.o.Metrics.compacted.WithLabelValues("kept").Add(size)
	return c.add(&cur.rec, cur.seg.id)
}

// removeLarge removes large segments, as far as they are there.
func (j *Journal) removeLarge(ids []SegmentID) error {
	ids = slices.DeleteFunc(ids, func(id SegmentID) bool {
		s, ok := j.lookup(id)
		return !ok || s.kind != KindLarge
	})
	if len(ids) == 0 {
		return nil
	}
	return j.remove(ids...)
}

// SweepLarge removes the large segments of earlier runs to which no record
// refers: what a crash between the end of a body and its record has left. It
// reads through all records, so it is for after a stop that was not in order.
// Where a damaged record could be the one that refers, nothing is removed.
func (j *Journal) SweepLarge(ctx context.Context) (removed int, err error) {
	refs, err := j.largeRefs(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range j.list(KindLarge) {
		if refs[s.id] || uint32(s.id>>counterBits) == j.epoch {
			continue
		}
		j.layout.Lock()
		err := j.remove(s.id)
		j.layout.Unlock()
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// largeRefs gives the large segments that records refer to.
func (j *Journal) largeRefs(ctx context.Context) (map[SegmentID]bool, error) {
	j.compacting.Lock()
	defer j.compacting.Unlock()
	refs := make(map[SegmentID]bool)
	var damage error
	c := &cursor{j: j, segs: j.list(KindLog, KindCompacted), onBad: func(s segment, b *badRecord) {
		damage = &DamageError{LSN: b.lsn, Segment: s.id, Offset: b.off, What: b.what, Err: b.err}
	}}
	defer c.close()
	for {
		if err := c.advance(); err != nil {
			return nil, err
		}
		if damage != nil {
			return nil, damage
		}
		if err := ctx.Err(); c.end || err != nil {
			return refs, err
		}
		if c.rec.ext.large != nil {
			refs[c.rec.ext.large.segment] = true
		}
	}
}
