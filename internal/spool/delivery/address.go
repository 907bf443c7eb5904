package delivery

import "net/netip"

// special are networks that no MX host of the Internet can be in: a record
// that points there is a mistake, or somebody who wants us to talk to machines
// behind our firewall. IANA's registries of special-purpose addresses (RFC
// 6890), multicast, and what was given up.
var special = [...]netip.Prefix{
	v4(0, 0, 0, 8), v4(10, 0, 0, 8), v4(100, 64, 0, 10), v4(127, 0, 0, 8), v4(169, 254, 0, 16), v4(172, 16, 0, 12),
	v4(192, 0, 0, 24), v4(192, 0, 2, 24), v4(192, 168, 0, 16), v4(198, 18, 0, 15), v4(198, 51, 100, 24), v4(203, 0, 113, 24),
	v4(224, 0, 0, 4), v4(240, 0, 0, 4),
	v6("\x00\x00\x00\x00\x00\x00\x00\x00", 64), // unspecified, loopback, IPv4-compatible (RFC 4291 §2.5), -translated (RFC 2765)
	v6("\x00\x64\xff\x9b\x00\x01", 48),         // NAT64 of a site's own (RFC 8215)
	v6("\x01\x00\x00\x00\x00\x00\x00\x00", 64), // discarded (RFC 6666)
	v6("\x20\x01\x00\x00", 32),                 // Teredo (RFC 4380)
	v6("\x20\x01\x00\x02\x00\x00", 48),         // benchmarks (RFC 5180)
	v6("\x20\x01\x0d\xb8", 32),                 // documentation (RFC 3849)
	v6("\x3f\xff\x00", 20),                     // documentation (RFC 9637)
	v6("\x5f\x00", 16),                         // segment routing (RFC 9602)
	v6("\xfc", 7),                              // unique local (RFC 4193)
	v6("\xfe\x80", 10),                         // link-local
	v6("\xfe\xc0", 10),                         // site-local (RFC 3879)
	v6("\xff", 8),                              // multicast
}

func v4(a, b, c byte, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, 0}), bits)
}

func v6(begin string, bits int) netip.Prefix {
	var a [16]byte
	copy(a[:], begin)
	return netip.PrefixFrom(netip.AddrFrom16(a), bits)
}

// nat64 and sixToFour have an IPv4 address in them, which is where a packet
// ends up (RFC 6052 §2.1, RFC 3056 §2).
var (
	nat64     = v6("\x00\x64\xff\x9b", 96)
	sixToFour = v6("\x20\x02", 16)
)

// embedded is the IPv4 address that stands behind a, or a itself.
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// forbidden reports whether an MX record may not lead to a.
func (o *Options) forbidden(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	real := embedded(a)
	for _, p := range o.AllowNetworks {
		if p.Contains(a.Unmap().WithZone("")) || p.Contains(real) {
			return false
		}
	}
	for _, p := range special {
		if p.Contains(real) {
			return true
		}
	}
	return false
}
