package policy

import (
	"net/netip"
	"slices"
	"sort"
)

// ranges is an immutable set of addresses with a note for each, found by
// binary search.
type ranges struct {
	spans []span // sorted, without overlap
}

type span struct {
	from, to netip.Addr
	note     string // whose
}

// newRanges makes a set of prefixes. Where they overlap the note of the wider
// one counts.
func newRanges(prefixes []netip.Prefix, notes func(i int) string) *ranges {
	r := &ranges{}
	all := make([]span, 0, len(prefixes))
	for i, p := range prefixes {
		if p = unmap(p); p.IsValid() {
			all = append(all, span{p.Masked().Addr(), last(p), notes(i)})
		}
	}
	slices.SortStableFunc(all, func(a, b span) int {
		if c := a.from.Compare(b.from); c != 0 {
			return c
		}
		return b.to.Compare(a.to)
	})
	for _, s := range all {
		// Prefixes nest or are apart.
		if n := len(r.spans); n > 0 && s.from.Compare(r.spans[n-1].to) <= 0 && s.from.Is4() == r.spans[n-1].to.Is4() {
			continue
		}
		r.spans = append(r.spans, s)
	}
	return r
}

// find returns the note of the span that an address is in.
func (r *ranges) find(a netip.Addr) (note string, ok bool) {
	a = a.Unmap().WithZone("")
	i := sort.Search(len(r.spans), func(i int) bool { return r.spans[i].from.Compare(a) > 0 }) - 1
	if i < 0 || r.spans[i].to.Compare(a) < 0 {
		return "", false
	}
	return r.spans[i].note, true
}

// overlap tells whether any address of a prefix is in the set.
func (r *ranges) overlap(p netip.Prefix) bool {
	end := last(p)
	i := sort.Search(len(r.spans), func(i int) bool { return r.spans[i].from.Compare(end) > 0 }) - 1
	return i >= 0 && r.spans[i].to.Compare(p.Addr()) >= 0
}

// unmap makes IPv4 of a prefix of IPv4-mapped addresses.
func unmap(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b) // has the length of an address
	return a
}
