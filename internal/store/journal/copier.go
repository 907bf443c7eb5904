package journal

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// copyBuffer is how much of a compacted segment is written at once.
const copyBuffer = 1 << 20

// copier writes moved copies into new segments. The files get their names only
// when all of them are whole and synced.
type copier struct {
	j       *Journal
	sources []SegmentID
	ready   []*segment // whole, synced, not named yet
	moved   []Moved
	dropped []SegmentID // large bodies of records that are not kept

	seg   *segment // being written; nil between segments
	f     sys.File
	buf   []byte
	off   int64 // where buf goes
	count uint64
}

// add copies a record that was checked. The body, envelope and LSN stay as
// they are; the header says that it is a copy and in which segment. Chunk
// checksums that had gone bad are made anew.
func (c *copier) add(rec *scanned, from SegmentID) error {
	if c.seg == nil {
		if err := c.begin(); err != nil {
			return err
		}
	}
	at := len(c.buf)
	off := c.off + int64(at)
	c.buf = append(c.buf, rec.raw...)
	h := rec.h
	h.moved, h.mix = true, c.seg.mix
	h.put(c.buf[at:])
	if rec.tableBad {
		body := c.buf[at+int(h.bodyAt()):][:h.stored]
		rest := c.buf[at+int(h.bodyAt())+int(h.stored):]
		clear(rest)
		if h.table() > 0 {
			var sum summer
			sum.add(body)
			copy(rest, sum.finish())
		}
	}
	if c.count == 0 {
		c.seg.first = h.lsn
	}
	c.seg.last = h.lsn
	c.count++
	if h.typ == TypeState {
		c.seg.states = append(c.seg.states, stateRef{rec.ext.asOf, h.lsn, c.seg.id, off})
	}
	c.moved = append(c.moved, Moved{
		LSN: h.lsn, From: Position{from, rec.off, h.size()}, To: Position{c.seg.id, off, h.size()},
	})
	if len(c.buf) >= copyBuffer {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.off+int64(len(c.buf)) >= c.j.o.SegmentBytes {
		return c.end()
	}
	return nil
}

// begin begins a segment.
func (c *copier) begin() error {
	id := c.j.newSegmentID()
	f, err := c.j.newTemp(id)
	if err != nil {
		return err
	}
	c.f, c.off, c.buf, c.count = f, blockSize, c.buf[:0], 0
	c.seg = c.j.segmentOf(segmentHeader{
		kind: KindCompacted, store: c.j.store, id: id, created: c.j.o.Clock.Now().UnixNano(), sources: c.sources,
	}, 0)
	return nil
}

func (c *copier) flush() error {
	_, err := c.f.WriteAt(c.buf, c.off)
	c.off += int64(len(c.buf))
	c.buf = c.buf[:0]
	return err
}

// end completes the segment: seal, header, sync.
func (c *copier) end() error {
	s := c.seg
	s.durable = c.j.Durable()
	c.buf = append(c.buf, sealRecord(s.mix, s.last, s.durable, c.count, s.states)...)
	err := c.flush()
	s.size, s.sealed, s.statesKnown = c.off, true, true
	if err == nil {
		head := segmentHeader{
			kind: s.kind, store: c.j.store, id: s.id, created: s.created,
			first: s.first, durable: s.durable, sources: s.sources,
		}
		_, err = c.f.WriteAt(head.block(), 0)
	}
	if err == nil {
		err = syncFailed(c.f.Sync())
	}
	if e := c.f.Close(); err == nil {
		err = e
	}
	c.ready = append(c.ready, s)
	c.seg, c.f = nil, nil
	return err
}

// finish completes the last segment, names all of them durably and puts them
// into the table.
func (c *copier) finish() error {
	if c.seg != nil {
		if err := c.end(); err != nil {
			return err
		}
	}
	if len(c.ready) == 0 {
		return nil
	}
	ids := make([]SegmentID, len(c.ready))
	for i, s := range c.ready {
		ids[i] = s.id
	}
	if err := c.j.publish(ids...); err != nil {
		return err
	}
	for _, s := range c.ready {
		c.j.add(s)
	}
	return nil
}

// abandon removes what was written. Files that have their names already stay:
// copies do no harm.
func (c *copier) abandon() {
	if c.f != nil {
		_ = c.f.Close()
		c.ready = append(c.ready, c.seg)
	}
	for _, s := range c.ready {
		_ = c.j.o.FS.Remove(c.j.segmentPath(s.id) + tmpSuffix)
	}
}

// copyTail copies records that perhaps only the page cache has into a segment
// of their own and syncs that, where the truth could not be read past the
// cache. The originals stay: a view may point at them.
func (j *Journal) copyTail(f sys.File, s *segment, kept []tailItem) error {
	c := &copier{j: j, sources: []SegmentID{s.id}}
	for _, it := range kept {
		sc := newScanner(f, s.mix, it.off, it.end)
		rec, err := sc.next(true)
		if err == nil {
			err = c.add(&rec, s.id)
		}
		if err != nil {
			c.abandon()
			return fmt.Errorf("copy record %s: %w", it.lsn, err)
		}
	}
	if err := c.finish(); err != nil {
		c.abandon()
		return err
	}
	j.found.Copied = true
	return nil
}
