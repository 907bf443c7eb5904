package journal

import (
	"errors"
	"fmt"
	"io/fs"
)

// readAhead is how much of a record is read at once when it is opened: most
// messages fit, and take one read.
const readAhead = 128 << 10

// Body reads the body of a record, inline part and large part as one sequence
// of bytes. Every byte that it gives was verified. ReadAt may be called from
// many goroutines at once; Close ends it.
type Body struct {
	size  int64
	parts []*part
}

// Body opens the body of the record at p. A *DamageError says that the record
// is damaged, ErrGone that compaction has moved it since p was looked up.
func (j *Journal) Body(p Position) (*Body, error) {
	rec, first, err := j.openRecord(p)
	if err != nil {
		return nil, err
	}
	b := &Body{parts: []*part{first}, size: first.size}
	if rec.ext.large == nil {
		return b, nil
	}
	second, err := j.openLarge(rec.ext.large, rec.h.lsn)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	second.start = b.size
	b.parts = append(b.parts, second)
	b.size += second.size
	return b, nil
}

// openLarge opens a large body.
func (j *Journal) openLarge(ref *largeRef, lsn LSN) (*part, error) {
	rec, p, err := j.openRecord(Position{Segment: ref.segment, Offset: blockSize})
	var damaged *DamageError
	if errors.As(err, &damaged) {
		damaged.LSN = lsn
	}
	if err != nil {
		return nil, err
	}
	p.lsn = lsn
	if rec.h.typ != TypeLargeBody || p.size != ref.size || rec.h.bodyCRC != ref.crc {
		p.h.release()
		return nil, j.damage(ref.segment, blockSize, lsn, "large body is not the one referred to")
	}
	return p, nil
}

// openFile gives the open file of a segment.
func (j *Journal) openFile(id SegmentID) (*handle, segment, error) {
	for {
		s, ok := j.lookup(id)
		if !ok {
			j.mu.RLock()
			gone := j.removed[id]
			j.mu.RUnlock()
			if gone {
				return nil, s, ErrGone
			}
			return nil, s, j.damage(id, 0, 0, "segment is missing")
		}
		h, err := j.files.get(id, j.segmentPath(id))
		if err == nil {
			return h, s, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, s, fmt.Errorf("open segment %s: %w", id, err)
		}
		if _, still := j.lookup(id); still {
			return nil, s, j.damage(id, 0, 0, "segment is missing")
		}
	}
}
