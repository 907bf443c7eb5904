package journal

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// windowSize is how much a scanner reads at once.
	windowSize = 256 << 10
	// wholeMax is the longest record that a scanner takes into memory to
	// check it; all but large bodies are shorter.
	wholeMax = headSize + extensionMax + EnvelopeMax + inlineLimit + inlineLimit/chunkSize*4 + 64
)

// scanner walks over the records of a segment.
type scanner struct {
	r   io.ReaderAt
	mix uint64
	off int64 // of the next record
	end int64 // where the records end

	win    []byte // bytes of the file from winOff
	winOff int64
	buf    []byte // memory of win
}

// scanned is a record that a scanner found. Slices are valid until its next
// call.
type scanned struct {
	h   header
	ext extension
	env []byte
	off int64
	raw []byte // the whole record, if it was checked and is no large body
	// tableBad: the body is whole, its chunk checksums are not.
	tableBad bool
}

// badRecord is why there is no good record at an offset.
type badRecord struct {
	off  int64
	size int64 // of the record, 0 if its header cannot be believed
	lsn  LSN   // 0 likewise
	dur  LSN   // the durable LSN of a header that can be believed
	typ  Type  // likewise
	what string
	err  error // of reading, nil if the bytes are wrong
}

func (b *badRecord) Error() string { return fmt.Sprintf("at %d: %s", b.off, b.what) }

// Unwrap gives the error of reading, if it was one.
func (b *badRecord) Unwrap() error { return b.err }

func newScanner(r io.ReaderAt, mix uint64, off, end int64) *scanner {
	return &scanner{r: r, mix: mix, off: off, end: end}
}

// bytes gives n bytes at off, which must lie before the end.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	if at := off - s.winOff; at >= 0 && at+n <= int64(len(s.win)) {
		return s.win[at : at+n], nil
	}
	want := min(max(n, windowSize), s.end-off)
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	got, err := s.r.ReadAt(s.buf[:want], off)
	s.win, s.winOff = s.buf[:got], off
	if int64(got) >= n {
		return s.win[:n], nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// next gives the next record and moves on; io.EOF at the end. With check the
// body is read and verified too. A *badRecord leaves the scanner where it is:
// call skip to go on.
func (s *scanner) next(check bool) (rec scanned, err error) {
	if s.off >= s.end {
		return rec, io.EOF
	}
	rec.off = s.off
	if s.end-s.off < headSize {
		return rec, &badRecord{off: s.off, what: errNoMagic.Error()}
	}
	b, err := s.bytes(s.off, headSize)
	if err != nil {
		return rec, &badRecord{off: s.off, what: "cannot be read", err: err}
	}
	h, err := parseHeader(b)
	if err == nil && h.mix != s.mix {
		err = errStranger
	}
	if err == nil && h.size() > s.end-s.off {
		return rec, &badRecord{off: s.off, lsn: h.lsn, dur: h.durable, typ: h.typ, what: "record is longer than the segment"}
	}
	if err != nil {
		return rec, &badRecord{off: s.off, what: err.Error()}
	}
	rec.h = h
	if err := s.load(&rec, check); err != nil {
		err.off, err.lsn, err.size, err.dur, err.typ = s.off, h.lsn, h.size(), h.durable, h.typ
		return rec, err
	}
	s.off += h.size()
	return rec, nil
}

// load reads and checks what follows the header.
func (s *scanner) load(rec *scanned, check bool) *badRecord {
	h := &rec.h
	n := h.bodyAt()
	if check && h.size() <= wholeMax {
		n = h.size()
	}
	b, err := s.bytes(rec.off, n)
	if err != nil {
		return &badRecord{what: "cannot be read", err: err}
	}
	if checksum(b[headSize:h.bodyAt()]) != h.envCRC {
		return &badRecord{what: "checksum of the envelope"}
	}
	rec.env = b[h.headLen:h.bodyAt()]
	if rec.ext, err = parseExtension(b[headSize:h.headLen]); err != nil {
		return &badRecord{what: "extension of the record header"}
	}
	switch {
	case !check:
		return nil
	case n < h.size():
		return s.checkLong(rec)
	}
	rec.raw = b
	return checkBody(rec, b)
}

// checkBody checks the body of a record that is in memory.
func checkBody(rec *scanned, b []byte) *badRecord {
	h := &rec.h
	body := b[h.bodyAt() : h.bodyAt()+int64(h.stored)]
	rest := b[h.bodyAt()+int64(h.stored):]
	if checksum(body) != h.bodyCRC {
		return &badRecord{what: "checksum of the body"}
	}
	table := rest[:h.table()]
	for i := 0; i < len(table); i += 4 {
		from := i / 4 * chunkSize
		to := min(from+chunkSize, len(body))
		if binary.LittleEndian.Uint32(table[i:]) != checksum(body[from:to]) {
			rec.tableBad = true
		}
	}
	for _, c := range rest[len(table):] {
		if c != 0 {
			rec.tableBad = true
		}
	}
	return nil
}

// checkLong checks a body that does not fit into memory.
func (s *scanner) checkLong(rec *scanned) *badRecord {
	h := &rec.h
	var sum summer
	at, left := rec.off+h.bodyAt(), int64(h.stored)
	for left > 0 {
		n := min(left, chunkSize)
		b, err := s.bytes(at, n)
		if err != nil {
			return &badRecord{what: "cannot be read", err: err}
		}
		sum.add(b)
		at, left = at+n, left-n
	}
	if sum.all != h.bodyCRC {
		return &badRecord{what: "checksum of the body"}
	}
	b, err := s.bytes(at, rec.off+h.size()-at)
	if err != nil {
		return &badRecord{what: "cannot be read", err: err}
	}
	table := sum.finish()
	if h.table() == 0 {
		table = nil
	}
	rec.tableBad = string(b[:h.table()]) != string(table)
	for _, c := range b[h.table():] {
		rec.tableBad = rec.tableBad || c != 0
	}
	return nil
}

// skip moves on behind a bad record: by its length if that can be believed,
// else to the next place where a record of this segment begins, or the end.
func (s *scanner) skip(bad *badRecord) {
	if bad.size > 0 {
		s.off = bad.off + bad.size
		return
	}
	for s.off += align; s.off+headSize <= s.end; s.off += align {
		b, err := s.bytes(s.off, headSize)
		if err != nil {
			// Unreadable: try again behind this block.
			s.off = s.off&^(blockSize-1) + blockSize - align
			continue
		}
		if binary.LittleEndian.Uint32(b) != recordMagic {
			continue
		}
		if h, err := parseHeader(b); err == nil && h.mix == s.mix && h.size() <= s.end-s.off {
			return
		}
	}
	s.off = s.end
}

// record makes a Record of what was scanned; its envelope is a copy.
func (r *scanned) record(seg SegmentID) Record {
	rec := Record{
		LSN: r.h.lsn, Type: r.h.typ, AsOf: r.h.lsn,
		Pos:      Position{seg, r.off, r.h.size()},
		Envelope: append([]byte(nil), r.env...),
		BodySize: int64(r.h.raw),
	}
	if r.h.typ == TypeState {
		rec.AsOf = r.ext.asOf
	}
	if r.ext.large != nil {
		rec.Large = r.ext.large.segment
		rec.BodySize += r.ext.large.size
	}
	return rec
}
