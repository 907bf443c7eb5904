package dns

import (
	"encoding/binary"
	"io"
)

// random hands out random numbers, some hundred for each read of its source.
type random struct {
	r    io.Reader
	buf  [512]byte
	left []byte
}

func (r *random) uint16() uint16 {
	if len(r.left) < 2 {
		if _, err := io.ReadFull(r.r, r.buf[:]); err != nil {
			// The system's source never fails. Ids that can be guessed would
			// be worse than the end.
			panic("no randomness: " + err.Error())
		}
		r.left = r.buf[:]
	}
	n := binary.BigEndian.Uint16(r.left)
	r.left = r.left[2:]
	return n
}
