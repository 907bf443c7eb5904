package policy

import (
	"net/netip"
	"time"
)

// sourceBits is the length of prefix that is one source of IPv6: no provider
// gives a customer less (RFC 6177 §2), and all of it is his to send from.
const sourceBits = 64

// shared are networks whose /64s have many people in them, who have nothing to
// do with each other: there an address is a source.
var shared = [...]netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"),   // all of IPv4, translated (RFC 6052 §2.1)
	netip.MustParsePrefix("64:ff9b:1::/48"), // the same, for local use (RFC 8215)
	netip.MustParsePrefix("2001::/32"),      // Teredo: the clients of one server (RFC 4380 §4)
	netip.MustParsePrefix("fe80::/10"),      // all on one link (RFC 4291 §2.5.6)
}

// source gives what offends, and is banned, as one: an address of IPv4, the /64
// of one of IPv6.
func source(a netip.Addr) netip.Prefix {
	a = a.WithZone("") // no prefix contains an address with one
	if a.Is6() {
		for _, p := range shared {
			if p.Contains(a) {
				return netip.PrefixFrom(a, a.BitLen())
			}
		}
		return netip.PrefixFrom(a, sourceBits).Masked()
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// offends is the key of an address's source.
func (h *hasher) offends(a netip.Addr) uint64 { return h.addr(0, source(a).Addr()) }

// bannable gives what may be banned for what an address did: its source, or
// itself alone if senders of that source are known to be good. What is allowed
// or logged in there Bans know themselves.
func (p *Policy) bannable(a netip.Addr, now time.Time) netip.Prefix {
	s := source(a)
	if s.IsSingleIP() {
		return s
	}
	known := p.parts.Greylist != nil && p.parts.Greylist.KnownAddr(a, now) || p.pools.known.Load().overlap(s)
	if known {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return s
}
