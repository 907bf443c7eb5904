package listen

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
)

// IDs makes the ids of connections: a counter that begins anywhere, so that
// they do not repeat within the host's life and most likely never.
type IDs struct{ last atomic.Uint64 }

// NewIDs begins anywhere.
func NewIDs() *IDs {
	var seed [8]byte
	rand.Read(seed[:]) // never fails, says its documentation
	i := &IDs{}
	i.last.Store(binary.BigEndian.Uint64(seed[:]))
	return i
}

// Next returns the next id, as a number; FormatID writes it out.
func (i *IDs) Next() uint64 { return i.last.Add(1) }

// idOctets is the length of an id: 64 bits at 5 bits a letter.
const idOctets = 13

// FormatID writes an id out: 13 letters and digits, the form of Conn.ID.
func FormatID(n uint64) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	var b [idOctets]byte
	b[idOctets-1] = letters[n<<1&31] // four bits are left for the last letter
	n >>= 4
	for i := idOctets - 2; i >= 0; i-- {
		b[i] = letters[n&31]
		n >>= 5
	}
	return string(b[:])
}
