package greylist

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Sender is what greylisting knows a client by.
type Sender struct {
	Addr   netip.Addr
	Helo   string         // argument of HELO or EHLO
	Domain message.Domain // of the reverse-path; "" is the null one
	Pool   string         // "spf:example.org" if that domain's SPF record authorises Addr, else ""
}

const (
	bitsIPv4 = 24 // of an address that count: what a site is given at least
	bitsIPv6 = 64
	helosMax = 64 // octets of a HELO name's domain that count: longer ones are made up
)

// secret keys the hashes of a table, so that nobody outside can find two
// senders with one hash. It lives as long as the file.
type secret [16]byte

// hash names pools, networks and waiting senders: 64 bits, since of 200,000
// names two fall together by chance once in a thousand million tables.
type hash = uint64

// kind keeps the hashes of different things apart.
type kind byte

const (
	kindNetwork kind = 'n' // the address's network
	kindSite    kind = 'h' // network and HELO domain
	kindSPF     kind = 's' // a domain's SPF record
	kindTo      kind = 't' // a recipient
)

// name hashes parts; it takes about 100 ns.
func (k *secret) name(what kind, network uint64, text string, domain message.Domain) hash {
	var room [16 + 1 + 8 + 2*helosMax]byte
	b := append(room[:0], k[:]...)
	b = append(b, byte(what))
	b = binary.BigEndian.AppendUint64(b, network)
	b = append(b, text...)
	if domain != "" {
		b = append(append(b, 0), domain...)
	}
	sum := sha256.Sum256(b)
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// network returns the part of an address that stands for a site. The /24 of
// IPv4 stand in ::/31, where no network of IPv6 is.
func network(a netip.Addr) uint64 {
	if a.Is4In6() {
		a = a.Unmap()
	}
	if a.Is4() {
		b := a.As4()
		return 1<<32 | uint64(binary.BigEndian.Uint32(b[:])>>(32-bitsIPv4))
	}
	if !a.IsValid() {
		return 0
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:])
}

// heloDomain is the part of a HELO name that a site's servers share: its last
// two labels. With "co.uk" that is too little, but beside the network it does
// no harm; with more, servers of one site would be strangers to each other.
// Address literals, which differ from server to server, count as none.
func heloDomain(helo string) string {
	helo = strings.TrimSuffix(helo, ".")
	if helo == "" || helo[0] == '[' || strings.IndexByte(helo, ':') >= 0 || helo[len(helo)-1] <= '9' {
		return "" // no name ends in a digit: an address without brackets
	}
	if at := strings.LastIndexByte(helo, '.'); at > 0 {
		if second := strings.LastIndexByte(helo[:at], '.'); second >= 0 {
			helo = helo[second+1:]
		}
	}
	if len(helo) > helosMax {
		helo = helo[len(helo)-helosMax:]
	}
	return strings.ToLower(helo)
}

// poolNames hashes what Known asks for.
func (k *secret) poolNames(s Sender) (site, spf hash) {
	site = k.name(kindSite, network(s.Addr), heloDomain(s.Helo), "")
	if s.Pool != "" {
		spf = k.name(kindSPF, 0, strings.ToLower(s.Pool), "")
	}
	return site, spf
}

// waitNames hashes what a waiting sender is found by. The null reverse-path is
// a sender domain of its own, which no domain is named like.
func (k *secret) waitNames(s Sender) (bySite, bySPF hash) {
	domain := s.Domain
	if domain == "" {
		domain = "<>"
	}
	bySite = k.name(kindSite, network(s.Addr), heloDomain(s.Helo), domain)
	if s.Pool != "" {
		bySPF = k.name(kindSPF, 0, strings.ToLower(s.Pool), domain)
	}
	return bySite, bySPF
}
