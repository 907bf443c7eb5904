package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// summer makes the checksums of a body as it comes: one of all of it and one
// per chunk.
type summer struct {
	size  int64
	all   uint32
	chunk uint32
	table []byte // of the chunks that are complete
}

// add takes the next bytes.
func (s *summer) add(b []byte) {
	for len(b) > 0 {
		n := min(int64(len(b)), chunkSize-s.size%chunkSize)
		s.all = crc32.Update(s.all, castagnoli, b[:n])
		s.chunk = crc32.Update(s.chunk, castagnoli, b[:n])
		s.size += n
		b = b[n:]
		if s.size%chunkSize == 0 {
			s.table = binary.LittleEndian.AppendUint32(s.table, s.chunk)
			s.chunk = 0
		}
	}
}

// finish gives the chunk table; nothing may be added afterwards.
func (s *summer) finish() []byte {
	if s.size%chunkSize != 0 {
		s.table = binary.LittleEndian.AppendUint32(s.table, s.chunk)
	}
	return s.table
}

// sumShort gives the checksum of a body that needs no table.
func sumShort(pieces [][]byte) (crc uint32) {
	for _, p := range pieces {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return crc
}
