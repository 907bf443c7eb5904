package ban

import (
	"net/netip"
	"slices"
)

// networks answers for an address which of many networks it lies in, by one
// look into a map for each length of prefix that there is.
type networks[V any] struct {
	of   map[netip.Prefix]V
	bits [2][129]int // networks of each length: of IPv4, of IPv6
}

func newNetworks[V any]() networks[V] { return networks[V]{of: map[netip.Prefix]V{}} }

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func (n *networks[V]) set(p netip.Prefix, v V) {
	if _, ok := n.of[p]; !ok {
		n.bits[family(p.Addr())][p.Bits()]++
	}
	n.of[p] = v
}

func (n *networks[V]) drop(p netip.Prefix) bool {
	if _, ok := n.of[p]; !ok {
		return false
	}
	delete(n.of, p)
	n.bits[family(p.Addr())][p.Bits()]--
	return true
}

// find gives the narrowest network that holds a and that ok accepts.
func (n *networks[V]) find(a netip.Addr, ok func(V) bool) (p netip.Prefix, v V, found bool) {
	return n.findFrom(a, a.BitLen(), ok)
}

// covers tells whether all of p lies in one network.
func (n *networks[V]) covers(p netip.Prefix) bool {
	_, _, found := n.findFrom(p.Addr(), p.Bits(), func(V) bool { return true })
	return found
}

// findFrom is find among the networks whose prefix is not longer than bits.
func (n *networks[V]) findFrom(a netip.Addr, bits int, ok func(V) bool) (p netip.Prefix, v V, found bool) {
	if len(n.of) == 0 {
		return p, v, false
	}
	counts := &n.bits[family(a)]
	for b := bits; b >= 0; b-- {
		if counts[b] == 0 {
			continue
		}
		p, _ = a.Prefix(b)
		if v, there := n.of[p]; there && ok(v) {
			return p, v, true
		}
	}
	var none V
	return netip.Prefix{}, none, false
}

// overlap gives a network that shares addresses with p. Only for those within
// p all have to be looked through.
func (n *networks[V]) overlap(p netip.Prefix) (netip.Prefix, bool) {
	if q, _, ok := n.findFrom(p.Addr(), p.Bits(), func(V) bool { return true }); ok {
		return q, true
	}
	narrower := 0
	for _, count := range n.bits[family(p.Addr())][p.Bits()+1:] {
		narrower += count
	}
	if narrower == 0 {
		return netip.Prefix{}, false
	}
	for q := range n.of {
		if q.Overlaps(p) {
			return q, true
		}
	}
	return netip.Prefix{}, false
}

// normal gives a network as the tables hold it: masked, IPv4 as IPv4, no zone.
func normal(p netip.Prefix) (netip.Prefix, bool) {
	a, bits := p.Addr().WithZone(""), p.Bits()
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	if !p.IsValid() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits).Masked(), true
}

// without gives what is left of p when the networks in holes are cut out: the
// halves of p, and so on, that no hole touches. It gives up at limit.
func without(out []netip.Prefix, p netip.Prefix, holes []netip.Prefix, limit int) ([]netip.Prefix, bool) {
	in := holes[:0:0]
	for _, h := range holes {
		if !h.Overlaps(p) {
			continue
		}
		if h.Bits() <= p.Bits() {
			return out, true // the hole takes all of it
		}
		in = append(in, h)
	}
	if len(in) == 0 {
		return append(out, p), len(out) < limit
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	high := netip.PrefixFrom(withBit(p.Addr(), p.Bits()), p.Bits()+1)
	out, ok := without(out, low, in, limit)
	if !ok {
		return out, false
	}
	return without(out, high, in, limit)
}

// withBit gives a with the bit of this number, from the left, set.
func withBit(a netip.Addr, bit int) netip.Addr {
	b := a.AsSlice()
	b[bit/8] |= 0x80 >> (bit % 8)
	a, _ = netip.AddrFromSlice(b)
	return a
}

// widest sorts networks and leaves out those that lie within another.
func widest(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	out := all[:0]
	for _, p := range all {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// last gives the last address of a network.
func last(p netip.Prefix) netip.Addr {
	a := p.Addr()
	for b := p.Bits(); b < a.BitLen(); b++ {
		a = withBit(a, b)
	}
	return a
}
