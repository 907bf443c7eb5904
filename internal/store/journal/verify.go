package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Verify reads every byte of every segment, compares every checksum and gives
// what is wrong to fn. Only want of access ends it early, or the context.
// Appending and reading go on beside it; compaction waits for the segment that
// is being read.
func (j *Journal) Verify(ctx context.Context, fn func(Finding)) error {
	for _, s := range j.list(KindLog, KindCompacted, KindLarge) {
		if err := j.verifySegment(ctx, s.id, fn); err != nil {
			return fmt.Errorf("verify segment %s: %w", s.id, err)
		}
	}
	return nil
}

func (j *Journal) verifySegment(ctx context.Context, id SegmentID, fn func(Finding)) error {
	j.layout.RLock()
	defer j.layout.RUnlock()
	if _, there := j.lookup(id); !there {
		return nil // removed in the meantime
	}
	v := &verifier{j: j, fn: fn, ctx: ctx}
	h, s, err := j.openFile(id)
	var damaged *DamageError
	switch {
	case errors.Is(err, ErrGone):
		return nil
	case errors.As(err, &damaged):
		fn(Finding{Segment: id, What: damaged.What})
		return nil
	case err != nil:
		return err
	}
	defer h.release()
	v.s = s
	v.header(h)
	if err := v.records(h); err != nil {
		return err
	}
	size, err := h.f.Size()
	if err != nil {
		return err
	}
	if !s.active && size > s.size {
		v.report(Finding{Offset: s.size, Length: size - s.size, What: "bytes behind the last record"})
	}
	return nil
}

// verifier verifies one segment.
type verifier struct {
	j   *Journal
	s   segment
	fn  func(Finding)
	ctx context.Context

	prev  LSN
	gap   bool // after something bad the next LSN is not known
	count uint64
}

func (v *verifier) report(f Finding) {
	f.Segment = v.s.id
	v.j.damage(f.Segment, f.Offset, f.LSN, f.What)
	v.fn(f)
}

func (v *verifier) header(h *handle) {
	b := make([]byte, blockSize)
	n, _ := h.f.ReadAt(b, 0)
	head, err := parseSegmentHeader(b[:n])
	if err == nil && (head.id != v.s.id || head.store != v.j.store) {
		err = errors.New("segment header of another segment or store")
	}
	if err != nil {
		v.report(Finding{Length: blockSize, What: err.Error()})
	}
}

func (v *verifier) records(h *handle) error {
	sc := newScanner(h.f, v.s.mix, blockSize, v.s.size)
	v.prev, v.gap = v.s.first-1, v.s.first == 0
	sealed := false
	for {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		rec, err := sc.next(true)
		var bad *badRecord
		switch {
		case err == io.EOF:
			if v.s.sealed && v.s.kind != KindLarge && !sealed {
				v.report(Finding{Offset: v.s.size, What: "seal is missing"})
			}
			return nil
		case errors.As(err, &bad):
			sc.skip(bad)
			v.report(Finding{Offset: bad.off, Length: sc.off - bad.off, LSN: bad.lsn, What: bad.what})
			v.prev, v.gap = max(v.prev, bad.lsn), true
			sealed = sealed || bad.typ == TypeSeal
		default:
			sealed = v.record(&rec) || sealed
		}
	}
}

// record checks what a whole record says; it tells whether it is a seal.
func (v *verifier) record(rec *scanned) (seal bool) {
	complain := func(what string) {
		v.report(Finding{Offset: rec.off, Length: rec.h.size(), LSN: rec.h.lsn, What: what})
	}
	if rec.tableBad {
		complain("checksums of the chunks")
	}
	switch rec.h.typ {
	case TypeLargeBody:
		if v.s.kind != KindLarge {
			complain("large body outside of a large segment")
		}
		return false
	case TypeSeal:
		count, _, _, err := parseSeal(rec.env, v.s.id)
		if err != nil || !v.gap && (count != v.count || rec.h.lsn != v.prev) {
			complain("seal does not fit the records")
		}
		return true
	}
	next := rec.h.lsn == v.prev+1
	if v.s.kind == KindCompacted {
		next = rec.h.lsn > v.prev || v.count == 0
	}
	if !next && (!v.gap || rec.h.lsn <= v.prev) {
		complain(fmt.Sprintf("record out of sequence, the one before is %s", v.prev))
	}
	v.prev, v.count = rec.h.lsn, v.count+1
	if ref := rec.ext.large; ref != nil {
		if s, ok := v.j.lookup(ref.segment); !ok || s.kind != KindLarge {
			complain(fmt.Sprintf("large body %s is missing", ref.segment))
		}
	}
	return false
}
