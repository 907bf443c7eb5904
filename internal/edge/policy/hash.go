package policy

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
)

// hasher makes keys of the tables. Its secrets are made with the process, so
// that nobody can choose addresses that share a key.
type hasher struct {
	seed maphash.Seed
	a, b uint64
}

func newHasher() hasher {
	s := maphash.MakeSeed()
	return hasher{seed: s, a: maphash.String(s, "a") | 1, b: maphash.String(s, "b") | 1}
}

func (h *hasher) mix(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x^h.a, y^h.b)
	hi2, lo2 := bits.Mul64(hi^h.b, lo^h.a)
	return nonzero(hi2 ^ lo2)
}

// addr is the key of an address, under a salt that says what is counted.
func (h *hasher) addr(salt uint64, a netip.Addr) uint64 {
	b := a.As16()
	return h.mix(binary.BigEndian.Uint64(b[:8])^salt, binary.BigEndian.Uint64(b[8:]))
}

// network is the key of an address's network: an IPv4 /24, an IPv6 /64, which
// is what one customer has at least.
func (h *hasher) network(salt uint64, a netip.Addr) uint64 {
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), uint64(0)
	if a.Is4() {
		lo = binary.BigEndian.Uint64(b[8:]) &^ 0xff
	}
	return h.mix(hi^salt^networkSalt, lo)
}

// networkSalt keeps the key of a network apart from that of its first address.
const networkSalt = 1 << 40

func (h *hasher) text(salt uint64, s string) uint64 {
	return h.mix(maphash.String(h.seed, s), salt)
}

// nonzero keeps 0 for the empty place of a table.
func nonzero(k uint64) uint64 {
	if k == 0 {
		return 1
	}
	return k
}
