package journal

import (
	"io"
)

// ReadRecord reads one record without its body. Errors are those of Body.
func (j *Journal) ReadRecord(p Position) (Record, error) {
	h, s, err := j.openFile(p.Segment)
	if err != nil {
		return Record{}, err
	}
	defer h.release()
	rec, buf, err := j.loadRecord(h, s, p)
	if err != nil {
		return Record{}, err
	}
	if err := j.loadEnvelope(&rec, s, buf); err != nil {
		return Record{}, err
	}
	if rec.h.typ > TypeTombstone {
		return Record{}, j.damage(s.id, p.Offset, rec.h.lsn, "not a record of the log")
	}
	return rec.record(s.id), nil
}

// openRecord reads the record at p as far as it takes to serve its body. The
// part holds the segment's file open.
func (j *Journal) openRecord(p Position) (rec scanned, _ *part, err error) {
	h, s, err := j.openFile(p.Segment)
	if err != nil {
		return rec, nil, err
	}
	var body *part
	rec, buf, err := j.loadRecord(h, s, p)
	if err == nil && rec.h.headLen > headSize {
		// The extension may say that there is more of the body.
		err = j.loadEnvelope(&rec, s, buf)
	}
	if err == nil && rec.h.flags&^flagChunked != 0 {
		err = ErrUnsupported
	}
	if err == nil {
		body, err = j.newPart(h, s, &rec, buf)
	}
	if err != nil {
		h.release()
		return rec, nil, err
	}
	return rec, body, nil
}

// loadRecord reads a record: header and envelope, and the rest if it is not
// long. Only the header is checked.
func (j *Journal) loadRecord(h *handle, s segment, p Position) (rec scanned, buf []byte, err error) {
	if p.Offset < blockSize || p.Offset%align != 0 || p.Offset > s.size-headSize {
		return rec, nil, j.damage(s.id, p.Offset, 0, "no record can be there")
	}
	want := p.Length
	if want <= 0 || want > readAhead {
		want = blockSize
	}
	buf, err = j.readSpan(h, s.id, p.Offset, max(headSize, min(want, s.size-p.Offset)))
	if err != nil {
		return rec, nil, err
	}
	rec.off = p.Offset
	rec.h, err = parseHeader(buf)
	if err == nil && rec.h.mix != s.mix {
		err = errStranger
	}
	if err == nil && rec.h.size() > s.size-p.Offset {
		err = errHeadSane
	}
	if err != nil {
		return rec, nil, j.damage(s.id, p.Offset, 0, err.Error())
	}
	need := rec.h.bodyAt()
	if rec.h.flags&flagChunked == 0 && rec.h.size() <= wholeMax {
		need = rec.h.size()
	}
	if int64(len(buf)) < need {
		buf, err = j.readSpan(h, s.id, p.Offset, need)
	}
	return rec, buf, err
}

// readSpan reads n bytes of a segment.
func (j *Journal) readSpan(h *handle, seg SegmentID, off, n int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := h.f.ReadAt(b, off)
	if int64(got) < n {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, j.unreadable(seg, off, 0, err)
	}
	return b, nil
}

// loadEnvelope checks and takes the envelope of a record out of its bytes.
func (j *Journal) loadEnvelope(rec *scanned, s segment, buf []byte) (err error) {
	if checksum(buf[headSize:rec.h.bodyAt()]) != rec.h.envCRC {
		return j.damage(s.id, rec.off, rec.h.lsn, "checksum of the envelope")
	}
	rec.env = buf[rec.h.headLen:rec.h.bodyAt()]
	if rec.ext, err = parseExtension(buf[headSize:rec.h.headLen]); err != nil {
		return j.damage(s.id, rec.off, rec.h.lsn, "extension of the record header")
	}
	return nil
}
