package fulltext

import (
	"encoding/binary"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	blockLSNs   = 512
	blockWords  = blockLSNs / 64
	blockOctets = blockLSNs / 8
)

// bits are a set of the LSNs of one block.
type bits [blockWords]uint64

func (b *bits) has(lsn journal.LSN) bool { return b[lsn%blockLSNs/64]>>(lsn%64)&1 != 0 }
func (b *bits) add(lsn journal.LSN)      { b[lsn%blockLSNs/64] |= 1 << (lsn % 64) }
func (b *bits) remove(lsn journal.LSN)   { b[lsn%blockLSNs/64] &^= 1 << (lsn % 64) }

func (b *bits) octets() []byte {
	out := make([]byte, 0, blockOctets)
	for _, w := range b {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

func (b *bits) load(octets []byte) {
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(octets[8*i:])
	}
}

// block is what is known of 512 LSNs in a row.
type block struct {
	indexed bits // the tables have their grams
	passed  bits // too long: always candidates
}

// known is what is known of all messages, by LSN / blockLSNs.
type known map[journal.LSN]*block

func (k known) indexed(lsn journal.LSN) bool {
	b := k[lsn/blockLSNs]
	return b != nil && b.indexed.has(lsn)
}

// settled says that there is nothing to be done for a message.
func (k known) settled(lsn journal.LSN) bool {
	b := k[lsn/blockLSNs]
	return b != nil && (b.indexed.has(lsn) || b.passed.has(lsn))
}

// lsns gives the messages of one block.
func (b *block) lsns(dst []journal.LSN, id journal.LSN) []journal.LSN {
	for i := range journal.LSN(blockLSNs) {
		if b.indexed.has(i) || b.passed.has(i) {
			dst = append(dst, id*blockLSNs+i)
		}
	}
	return dst
}
