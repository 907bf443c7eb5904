package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The byte format. docs/formats/journal.md draws it; TestFormat_golden freezes
// it. All numbers are little endian.
const (
	formatVersion = 1

	// blockSize is the size of a segment's header block, and where its
	// first record begins.
	blockSize = 4096
	// headSize is the size of a record header without its extension.
	headSize = 68
	// align is what records are aligned to.
	align = 8
	// chunkSize is the unit of the checksums of a long body, so that a
	// part of it can be checked without reading it all.
	chunkSize = 64 << 10

	segmentMagic = "BWSEGMNT"
	recordMagic  = 0x31525742 // "BWR1" read as a number

	// movedBit in the type byte marks a copy made by compaction.
	movedBit = 0x80
)

// Flags of a record.
const (
	flagZstd      = 1 << 0 // body is compressed: reserved, not written yet
	flagEncrypted = 1 << 1 // body is encrypted: reserved, not written yet
	flagChunked   = 1 << 2 // a checksum per chunk follows the body
)

// Tags of the journal's own TLV part of a record header.
const (
	extLarge = 1 // the large part of the body: segment, length, checksum
	extAsOf  = 2 // of State records: Entry.AsOf
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC32C.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// header is the fixed part of a record.
type header struct {
	typ     Type
	moved   bool
	flags   uint16
	headLen uint32 // with the extension
	envLen  uint32
	stored  uint64 // bytes of the inline body as stored, without the chunk table
	raw     uint64 // the same before compression
	lsn     LSN
	mix     uint64
	durable LSN
	envCRC  uint32 // of extension and envelope
	bodyCRC uint32
}

// put writes the header into b, which has headSize bytes.
func (h *header) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], recordMagic)
	b[4] = formatVersion
	b[5] = byte(h.typ)
	if h.moved {
		b[5] |= movedBit
	}
	le.PutUint16(b[6:], h.flags)
	le.PutUint32(b[8:], h.headLen)
	le.PutUint32(b[12:], h.envLen)
	le.PutUint64(b[16:], h.stored)
	le.PutUint64(b[24:], h.raw)
	le.PutUint64(b[32:], uint64(h.lsn))
	le.PutUint64(b[40:], h.mix)
	le.PutUint64(b[48:], uint64(h.durable))
	le.PutUint32(b[56:], h.envCRC)
	le.PutUint32(b[60:], h.bodyCRC)
	le.PutUint32(b[64:], checksum(b[:64]))
}

var (
	errNoMagic  = errors.New("no record begins here")
	errHeadCRC  = errors.New("checksum of the record header")
	errHeadSane = errors.New("record header makes no sense")
	errStranger = errors.New("record of another segment or store")
)

// parseHeader reads a record header and checks all of it that does not depend
// on the segment.
func parseHeader(b []byte) (h header, err error) {
	le := binary.LittleEndian
	if len(b) < headSize || le.Uint32(b) != recordMagic {
		return h, errNoMagic
	}
	if le.Uint32(b[64:]) != checksum(b[:64]) {
		return h, errHeadCRC
	}
	h = header{
		typ:     Type(b[5] &^ movedBit),
		moved:   b[5]&movedBit != 0,
		flags:   le.Uint16(b[6:]),
		headLen: le.Uint32(b[8:]),
		envLen:  le.Uint32(b[12:]),
		stored:  le.Uint64(b[16:]),
		raw:     le.Uint64(b[24:]),
		lsn:     LSN(le.Uint64(b[32:])),
		mix:     le.Uint64(b[40:]),
		durable: LSN(le.Uint64(b[48:])),
		envCRC:  le.Uint32(b[56:]),
		bodyCRC: le.Uint32(b[60:]),
	}
	bodyMax := uint64(inlineLimit)
	if h.typ == TypeLargeBody {
		bodyMax = LargeMax
	}
	if b[4] != formatVersion || h.headLen < headSize || h.headLen > headSize+extensionMax ||
		h.envLen > EnvelopeMax || h.stored > bodyMax || h.raw > LargeMax {
		return h, errHeadSane
	}
	return h, nil
}

// table is the size of the chunk checksums after the body.
func (h *header) table() int64 {
	if h.flags&flagChunked == 0 {
		return 0
	}
	return tableSize(int64(h.stored))
}

func tableSize(body int64) int64 { return 4 * ((body + chunkSize - 1) / chunkSize) }

// size is that of the whole record, padding included.
func (h *header) size() int64 {
	return pad(int64(h.headLen) + int64(h.envLen) + int64(h.stored) + h.table())
}

// bodyAt is where the body begins, from the record's beginning.
func (h *header) bodyAt() int64 { return int64(h.headLen) + int64(h.envLen) }

func pad(n int64) int64 { return (n + align - 1) &^ (align - 1) }

// extension is the journal's own TLV part of a record header.
type extension struct {
	large *largeRef
	asOf  LSN
}

// largeRef is a reference to a large body.
type largeRef struct {
	segment SegmentID
	size    int64
	crc     uint32
}

// append writes the extension.
func (x *extension) append(b []byte) []byte {
	le := binary.LittleEndian
	if x.large != nil {
		var v [20]byte
		le.PutUint64(v[0:], uint64(x.large.segment))
		le.PutUint64(v[8:], uint64(x.large.size))
		le.PutUint32(v[16:], x.large.crc)
		b = AppendField(b, extLarge, v[:])
	}
	if x.asOf != 0 {
		var v [8]byte
		le.PutUint64(v[:], uint64(x.asOf))
		b = AppendField(b, extAsOf, v[:])
	}
	return b
}

// parseExtension reads an extension; fields that it does not know are left to
// newer versions.
func parseExtension(b []byte) (x extension, err error) {
	le := binary.LittleEndian
	err = ParseFields(b, func(tag uint64, v []byte) error {
		switch {
		case tag == extLarge && len(v) == 20:
			x.large = &largeRef{SegmentID(le.Uint64(v)), int64(le.Uint64(v[8:])), le.Uint32(v[16:])}
			if x.large.size < 0 || x.large.size > LargeMax {
				return ErrMalformed
			}
		case tag == extAsOf && len(v) == 8:
			x.asOf = LSN(le.Uint64(v))
		}
		return nil
	})
	return x, err
}

// segmentHeader is the header block of a segment.
type segmentHeader struct {
	kind     Kind
	keySlots uint32 // generation of the key slots; 0: not encrypted
	store    StoreID
	id       SegmentID
	created  int64 // nanoseconds since 1970
	first    LSN   // of the first record; of a log segment: that it will have
	durable  LSN   // last durable LSN when the segment was made
	sources  []SegmentID
}

// block gives the header block.
func (h *segmentHeader) block() []byte {
	le := binary.LittleEndian
	b := make([]byte, blockSize)
	copy(b, segmentMagic)
	le.PutUint16(b[8:], formatVersion)
	b[10] = byte(h.kind)
	le.PutUint32(b[12:], h.keySlots)
	copy(b[16:], h.store[:])
	le.PutUint64(b[32:], uint64(h.id))
	le.PutUint64(b[40:], uint64(h.created))
	le.PutUint64(b[48:], uint64(h.first))
	le.PutUint64(b[56:], uint64(h.durable))
	le.PutUint16(b[64:], uint16(len(h.sources)))
	for i, s := range h.sources {
		le.PutUint64(b[72+8*i:], uint64(s))
	}
	le.PutUint32(b[blockSize-4:], checksum(b[:blockSize-4]))
	return b
}

var errSegmentHeader = errors.New("checksum of the segment header")

// parseSegmentHeader reads a header block. ErrUnsupported means that it is
// whole and of a newer format.
func parseSegmentHeader(b []byte) (h segmentHeader, err error) {
	le := binary.LittleEndian
	if len(b) < blockSize || string(b[:8]) != segmentMagic ||
		le.Uint32(b[blockSize-4:]) != checksum(b[:blockSize-4]) {
		return h, errSegmentHeader
	}
	if le.Uint16(b[8:]) != formatVersion {
		return h, ErrUnsupported
	}
	h = segmentHeader{
		kind:     Kind(b[10]),
		keySlots: le.Uint32(b[12:]),
		store:    StoreID(b[16:32]),
		id:       SegmentID(le.Uint64(b[32:])),
		created:  int64(le.Uint64(b[40:])),
		first:    LSN(le.Uint64(b[48:])),
		durable:  LSN(le.Uint64(b[56:])),
	}
	n := int(le.Uint16(b[64:]))
	if n > sourcesMax || h.kind < KindLog || h.kind > KindLarge {
		return h, errSegmentHeader
	}
	for i := range n {
		h.sources = append(h.sources, SegmentID(le.Uint64(b[72+8*i:])))
	}
	return h, nil
}

// mixOf ties the records of a segment to it and to the store, so that stale
// blocks of recycled space are never taken for records.
func mixOf(store StoreID, id SegmentID) uint64 {
	le := binary.LittleEndian
	return uint64(id) ^ le.Uint64(store[:8]) ^ le.Uint64(store[8:])
}
