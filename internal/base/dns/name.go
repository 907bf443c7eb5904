package dns

import (
	"net/netip"
	"strconv"
)

// ReverseName returns an address as the names below in-addr.arpa, ip6.arpa
// and in lists of addresses have it, without a zone: octets or nibbles from
// the last to the first (RFC 1035 §3.5, RFC 3596 §2.5, RFC 5782 §2).
func ReverseName(a netip.Addr) string {
	return string(AppendReverse(make([]byte, 0, reverseOctetsMax), a))
}

// reverseOctetsMax is the length of 32 nibbles with dots between them.
const reverseOctetsMax = 63

// AppendReverse appends what ReverseName returns.
func AppendReverse(dst []byte, a netip.Addr) []byte {
	const hex = "0123456789abcdef"
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		for i := 3; i >= 0; i-- {
			dst = strconv.AppendUint(dst, uint64(b[i]), 10)
			if i > 0 {
				dst = append(dst, '.')
			}
		}
		return dst
	}
	b := a.As16()
	for i := 15; i >= 0; i-- {
		dst = append(dst, hex[b[i]&15], '.', hex[b[i]>>4])
		if i > 0 {
			dst = append(dst, '.')
		}
	}
	return dst
}
