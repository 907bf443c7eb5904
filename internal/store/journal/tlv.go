package journal

import (
	"encoding/binary"
	"iter"
)

// AppendField appends one field: tag and length as unsigned varints, then the
// value. Envelopes are sequences of such fields; a reader skips tags that it
// does not know, so old programs read new records.
func AppendField(dst []byte, tag uint64, value []byte) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// AppendString is AppendField for a string.
func AppendString(dst []byte, tag uint64, value string) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// AppendUint is AppendField for a number, which is written as a varint.
func AppendUint(dst []byte, tag, value uint64) []byte {
	var b [binary.MaxVarintLen64]byte
	return AppendField(dst, tag, b[:binary.PutUvarint(b[:], value)])
}

// Uint reads the value of a field written by AppendUint.
func Uint(value []byte) (uint64, bool) {
	v, n := binary.Uvarint(value)
	return v, n > 0 && n == len(value)
}

// Fields walks over the fields of b, in order. Values are parts of b. It ends
// at the first malformed field; ParseFields tells whether there is one.
func Fields(b []byte) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for len(b) > 0 {
			tag, value, rest, ok := cutField(b)
			if !ok || !yield(tag, value) {
				return
			}
			b = rest
		}
	}
}

// ParseFields calls fn for each field of b, in order, and stops at its first
// error. Malformed bytes give ErrMalformed after the fields before them.
func ParseFields(b []byte, fn func(tag uint64, value []byte) error) error {
	for len(b) > 0 {
		tag, value, rest, ok := cutField(b)
		if !ok {
			return ErrMalformed
		}
		if err := fn(tag, value); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func cutField(b []byte) (tag uint64, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, nil, false
	}
	end := n + int(size)
	return tag, b[n:end:end], b[end:], true
}
