package policy

import (
	"net/netip"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// heloFault is what is wrong with the argument of HELO or EHLO.
type heloFault uint8

// The faults, in the order in which they are looked for; the first counts.
const (
	heloFine         heloFault = iota
	heloOwnName                // it is a name of ours
	heloOwnAddress             // it is an address of ours
	heloBareAddress            // an address without brackets
	heloOtherAddress           // an address literal, and not the client's
	heloCharacters             // no domain name at all
	heloNotFQDN                // a name that means nothing outside its own house
)

// own is what a stranger cannot be.
type own struct {
	names     map[string]bool // lower case
	addresses map[netip.Addr]bool
}

func newOwn(o *Options) own {
	w := own{names: make(map[string]bool), addresses: make(map[netip.Addr]bool)}
	for _, n := range append([]string{o.Hostname}, o.Names...) {
		w.names[plainName(n)] = true
	}
	delete(w.names, "")
	delete(w.names, "localhost") // is everybody's name: not FQDN, but no lie
	for _, a := range o.Addresses {
		w.addresses[a.Unmap().WithZone("")] = true
	}
	return w
}

func plainName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// judgeHelo examines the argument of HELO or EHLO that a client at remote gave.
// It is not looked up: RFC 5321 §4.1.4 forbids to refuse mail for what that
// would show.
func judgeHelo(arg string, remote netip.Addr, w *own) heloFault {
	if len(arg) > smtp.HeloMax { // no machine takes it, but explain does
		return heloCharacters
	}
	name := plainName(arg)
	if w.names[name] {
		return heloOwnName
	}
	if strings.HasPrefix(name, "[") {
		return judgeLiteral(name, remote, w)
	}
	if a, err := netip.ParseAddr(name); err == nil {
		if w.isOwn(a, remote) {
			return heloOwnAddress
		}
		return heloBareAddress
	}
	if _, err := message.ParseDomain(name); err != nil {
		return heloCharacters
	}
	if houseName(name) {
		return heloNotFQDN
	}
	return heloFine
}

func judgeLiteral(name string, remote netip.Addr, w *own) heloFault {
	d, err := message.ParseLiteral(name)
	if err != nil {
		return heloCharacters
	}
	a, ok := d.Literal()
	switch {
	case !ok:
		return heloCharacters
	case w.isOwn(a, remote):
		return heloOwnAddress
	case a.Unmap() != remote.Unmap().WithZone(""):
		return heloOtherAddress
	}
	return heloFine
}

// isOwn tells whether an address is ours and the client is not there itself.
func (w *own) isOwn(a, remote netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return w.addresses[a] && a != remote.Unmap()
}

// houseName tells whether a name cannot be a host's in the public DNS: one
// label, a top label of digits, or an ending that is kept for private use
// (RFC 6761, RFC 6762).
func houseName(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return true
	}
	switch top := name[i+1:]; top {
	case "local", "localhost", "localdomain", "lan", "internal", "invalid", "home", "corp", "workgroup":
		return true
	default:
		return strings.Trim(top, "0123456789") == ""
	}
}

// heloDomain is the domain that a HELO name counts for: without its first
// label, which numbers the hosts of a pool, unless only two are left.
func heloDomain(helo string) string {
	name := plainName(helo)
	if houseName(name) || strings.HasPrefix(name, "[") || strings.Count(name, ".") < 2 {
		return name
	}
	_, rest, _ := strings.Cut(name, ".")
	return rest
}
