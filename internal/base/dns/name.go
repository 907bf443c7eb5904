package dns

import (
	"net/netip"
	"strconv"
	"strings"
)

// The octets of names.
const (
	// nameOctetsMax is of a name as text, without the dot at the end, which is
	// what fits into 255 octets on the wire (RFC 1035 §2.3.4).
	nameOctetsMax = 253
	// labelOctetsMax is of a label (RFC 1035 §2.3.4).
	labelOctetsMax = 63
	// reverseOctetsMax is of an IPv6 address in nibbles, with dots between
	// them.
	reverseOctetsMax = 63
)

// ReverseName returns an address as the names below in-addr.arpa, ip6.arpa
// and in lists of addresses have it, without a zone: octets or nibbles from
// the last to the first (RFC 1035 §3.5, RFC 3596 §2.5, RFC 5782 §2).
func ReverseName(a netip.Addr) string {
	return string(AppendReverse(make([]byte, 0, reverseOctetsMax), a))
}

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

// Normal gives a name as a [Question] has it, in lower case and without a dot
// at the end; false if it cannot be asked for.
func Normal(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > nameOctetsMax {
		return "", false
	}
	label, upper := 0, false
	for i := range len(name) {
		switch b := name[i]; {
		case b == '.':
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		case b <= ' ' || b > '~':
			return "", false
		case b >= 'A' && b <= 'Z':
			upper = true
		}
		if label++; label > labelOctetsMax {
			return "", false
		}
	}
	if label == 0 {
		return "", false
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}

// hostname makes text of a name of an answer. Names with other than printable
// ASCII are of no use to mail, and would have to be guarded against in every
// log and header field: they are not there.
func hostname(b []byte) (string, bool) {
	b = b[:len(b)-1] // the dot at the end
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return "", false
		}
	}
	return strings.ToLower(string(b)), true
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// sameName compares names as the DNS does (RFC 4343).
func sameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}
