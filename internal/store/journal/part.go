package journal

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// part is the inline or the large body of a record.
type part struct {
	j     *Journal
	h     *handle
	seg   SegmentID
	lsn   LSN
	base  int64 // where the body begins in the file
	start int64 // where it begins in the message
	size  int64
	crc   uint32
	data  []byte // all of it, verified, if it was read with its record

	mu    sync.Mutex
	table []byte // checksums of the chunks; guarded by mu, replaced if it is bad itself
	at    int64  // number of the chunk in chunk; guarded by mu
	chunk []byte // a verified chunk, for readers who take small bites; guarded by mu
}

// newPart makes the part of a record whose first bytes are in buf.
func (j *Journal) newPart(h *handle, s segment, rec *scanned, buf []byte) (*part, error) {
	p := &part{
		j: j, h: h, seg: s.id, lsn: rec.h.lsn, base: rec.off + rec.h.bodyAt(),
		size: int64(rec.h.stored), crc: rec.h.bodyCRC,
	}
	at := rec.h.bodyAt()
	if at+p.size <= int64(len(buf)) {
		p.data = buf[at : at+p.size : at+p.size]
		if checksum(p.data) != p.crc {
			return nil, j.damage(s.id, p.base, p.lsn, "checksum of the body")
		}
		return p, nil
	}
	if rec.h.flags&flagChunked == 0 {
		return nil, j.damage(s.id, rec.off, p.lsn, "long body without chunk checksums")
	}
	table := make([]byte, rec.h.table())
	if n, err := h.f.ReadAt(table, p.base+p.size); n < len(table) {
		j.unreadable(s.id, p.base+p.size, p.lsn, err)
		table = nil
	}
	p.table = table
	if table == nil {
		return p, p.recheck(0)
	}
	return p, nil
}

// readAt reads verified bytes; dst must lie inside the part.
func (p *part) readAt(dst []byte, off int64) (int, error) {
	if p.data != nil {
		return copy(dst, p.data[off:]), nil
	}
	done := 0
	for done < len(dst) {
		i, in := (off+int64(done))/chunkSize, (off+int64(done))%chunkSize
		n := min(chunkSize, p.size-i*chunkSize)
		var err error
		if in == 0 && int64(len(dst)-done) >= n {
			err = p.readChunk(i, dst[done:done+int(n)])
			done += int(n)
		} else {
			done, err = p.readBite(i, in, n, dst, done)
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readBite reads a piece of chunk i, which is kept for the next bite.
func (p *part) readBite(i, in, n int64, dst []byte, done int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chunk == nil || p.at != i {
		b := p.chunk
		if cap(b) < int(n) {
			b = make([]byte, n, min(chunkSize, p.size))
		}
		b = b[:n]
		p.chunk = nil
		if err := p.readChunkLocked(i, b); err != nil {
			return done, err
		}
		p.chunk, p.at = b, i
	}
	return done + copy(dst[done:], p.chunk[in:]), nil
}

func (p *part) readChunk(i int64, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readChunkLocked(i, b)
}

// readChunkLocked reads and verifies a whole chunk into b.
func (p *part) readChunkLocked(i int64, b []byte) error {
	off := p.base + i*chunkSize
	if n, err := p.h.f.ReadAt(b, off); n < len(b) {
		return p.j.unreadable(p.seg, off, p.lsn, err)
	}
	sum := checksum(b)
	if sum == binary.LittleEndian.Uint32(p.table[4*i:]) {
		return nil
	}
	// Either the chunk is bad or its checksum; that of the whole body knows.
	if err := p.recheck(off); err != nil {
		return err
	}
	p.j.damage(p.seg, p.base+p.size+4*i, p.lsn, "checksums of the chunks")
	if sum != binary.LittleEndian.Uint32(p.table[4*i:]) {
		return p.j.damage(p.seg, off, p.lsn, "checksum of the body")
	}
	return nil
}

// recheck reads the whole body and, if it is good, makes its chunk checksums
// anew. off is the place to complain about.
func (p *part) recheck(off int64) error {
	var sum summer
	b := make([]byte, chunkSize)
	for at := int64(0); at < p.size; at += chunkSize {
		c := b[:min(chunkSize, p.size-at)]
		if n, err := p.h.f.ReadAt(c, p.base+at); n < len(c) {
			return p.j.unreadable(p.seg, p.base+at, p.lsn, err)
		}
		sum.add(c)
	}
	if sum.all != p.crc {
		return p.j.damage(p.seg, off, p.lsn, "checksum of the body")
	}
	p.table = sum.finish()
	return nil
}

// Size is the length of the body in bytes.
func (b *Body) Size() int64 { return b.size }

// ReadAt is io.ReaderAt over verified bytes. A *DamageError comes instead of
// bytes that fail their checksum.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("journal: negative offset")
	}
	done := 0
	for _, part := range b.parts {
		at := off + int64(done) - part.start
		if at >= part.size || done == len(p) {
			continue
		}
		n, err := part.readAt(p[done:min(int64(len(p)), int64(done)+part.size-at)], at)
		done += n
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// Close gives the body's files back. The body may not be used afterwards.
func (b *Body) Close() error {
	for _, p := range b.parts {
		p.h.release()
	}
	b.parts = nil
	return nil
}
