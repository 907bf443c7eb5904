package dns

import "net/netip"

// Global reports whether an address is one of the public Internet: what
// strangers' records may send us to. Private, loopback, link-local, multicast
// and documentation addresses and the like are none (the registries of
// RFC 6890), nor are those in which one of these is wrapped.
func Global(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	if nat64().Contains(a) {
		return Global(Inner(a))
	}
	if a.Is6() && !unicast6().Contains(a) {
		return false
	}
	for _, p := range notGlobal {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// Reachable reports whether strangers' records may send us to an address: it is
// Global, or it or what is wrapped in it is in one of our networks that the
// operator has named.
func Reachable(a netip.Addr, named []netip.Prefix) bool {
	for _, p := range named {
		if p.Contains(a.Unmap()) || p.Contains(Inner(a)) {
			return true
		}
	}
	return Global(a)
}

// Inner is the IPv4 address that packets to a end up at, or a itself.
func Inner(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case nat64().Contains(a):
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour().Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// nat64 is how hosts without IPv4 reach it (RFC 6052 §2.1).
func nat64() netip.Prefix { return netip.MustParsePrefix("64:ff9b::/96") }

// sixToFour is how hosts without IPv6 were reached (RFC 3056 §2).
func sixToFour() netip.Prefix { return netip.MustParsePrefix("2002::/16") }

// unicast6 is all that has been given out of IPv6 (RFC 4291 §2.4).
func unicast6() netip.Prefix { return netip.MustParsePrefix("2000::/3") }

var notGlobal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("10.0.0.0/8"),      // private
	netip.MustParsePrefix("100.64.0.0/10"),   // shared by carriers
	netip.MustParsePrefix("127.0.0.0/8"),     // loopback
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local, and the metadata of clouds
	netip.MustParsePrefix("172.16.0.0/12"),   // private
	netip.MustParsePrefix("192.0.0.0/24"),    // protocols
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays, gone
	netip.MustParsePrefix("192.168.0.0/16"),  // private
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("224.0.0.0/3"),     // multicast, reserved, broadcast
	netip.MustParsePrefix("2001::/23"),       // protocols, Teredo among them
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4: any IPv4 address may be inside
	netip.MustParsePrefix("3fff::/20"),       // documentation
}
