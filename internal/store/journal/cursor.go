package journal

import (
	"errors"
	"io"
	"slices"
)

// cursor walks over the records of some segments, in the segments' order.
type cursor struct {
	j     *Journal
	segs  []segment // those to come
	check bool      // verify bodies too
	onBad func(seg segment, bad *badRecord)

	seg segment
	h   *handle
	sc  *scanner
	rec scanned // where the cursor stands
	end bool
}

// advance moves to the next record that is no seal.
func (c *cursor) advance() error {
	for {
		if c.sc == nil {
			if len(c.segs) == 0 {
				c.end = true
				return nil
			}
			if err := c.openNext(); err != nil {
				return err
			}
			continue
		}
		rec, err := c.sc.next(c.check)
		var bad *badRecord
		switch {
		case err == io.EOF:
			c.close()
		case errors.As(err, &bad):
			c.onBad(c.seg, bad)
			c.sc.skip(bad)
		case rec.h.typ == TypeSeal || rec.h.typ == TypeLargeBody:
		default:
			c.rec = rec
			return nil
		}
	}
}

// openNext opens the next segment. One that is missing is damage, and is
// passed over.
func (c *cursor) openNext() error {
	c.seg, c.segs = c.segs[0], c.segs[1:]
	h, s, err := c.j.openFile(c.seg.id)
	var damaged *DamageError
	if errors.As(err, &damaged) || errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	c.h, c.seg.size = h, s.size
	c.sc = newScanner(h.f, s.mix, blockSize, s.size)
	return nil
}

func (c *cursor) close() {
	if c.h != nil {
		c.h.release()
	}
	c.h, c.sc = nil, nil
}

// merge gives the records of many segments in LSN order, each LSN once. At any
// time only those segments are open whose LSNs are due.
type merge struct {
	j       *Journal
	check   bool
	onBad   func(seg segment, bad *badRecord)
	waiting []segment // not open yet, by first LSN
	open    []*cursor
	last    LSN
	done    bool // last was given, so it is passed over
}

// newMerge merges the log segments, which follow one another, and the
// compacted ones.
func (j *Journal) newMerge(logs, compacted []segment, check bool, onBad func(segment, *badRecord)) (*merge, error) {
	m := &merge{j: j, check: check, onBad: onBad, waiting: slices.Clone(compacted)}
	slices.SortFunc(m.waiting, func(a, b segment) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	if len(logs) > 0 {
		if err := m.start(logs); err != nil {
			m.close()
			return nil, err
		}
	}
	return m, nil
}

func (m *merge) start(segs []segment) error {
	c := &cursor{j: m.j, segs: segs, check: m.check, onBad: m.onBad}
	if err := c.advance(); err != nil {
		c.close()
		return err
	}
	if !c.end {
		m.open = append(m.open, c)
	}
	return nil
}

// next gives the next record and the segment that it lies in; io.EOF at the
// end. Of several copies it gives the one in a compacted segment.
func (m *merge) next() (*cursor, error) {
	for {
		c := m.lowest()
		for len(m.waiting) > 0 && (c == nil || m.waiting[0].first <= c.rec.h.lsn) {
			s := m.waiting[0]
			m.waiting = m.waiting[1:]
			if err := m.start([]segment{s}); err != nil {
				return nil, err
			}
			c = m.lowest()
		}
		switch {
		case c == nil:
			return nil, io.EOF
		case m.done && c.rec.h.lsn <= m.last:
			if err := m.step(c); err != nil {
				return nil, err
			}
		default:
			m.last, m.done = c.rec.h.lsn, true
			return c, nil
		}
	}
}

// lowest gives the cursor with the lowest LSN.
func (m *merge) lowest() *cursor {
	var best *cursor
	for _, c := range m.open {
		if best == nil || c.rec.h.lsn < best.rec.h.lsn || c.rec.h.lsn == best.rec.h.lsn && c.rec.h.moved {
			best = c
		}
	}
	return best
}

// step moves a cursor on.
func (m *merge) step(c *cursor) error {
	if err := c.advance(); err != nil {
		return err
	}
	if c.end {
		m.open = slices.DeleteFunc(m.open, func(o *cursor) bool { return o == c })
	}
	return nil
}

func (m *merge) close() {
	for _, c := range m.open {
		c.close()
	}
	m.open = nil
}
