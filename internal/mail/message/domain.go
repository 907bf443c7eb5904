package message

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Size limits of names. Domains follow the DNS (RFC 1035 §2.3.4: 255 octets
// on the wire are 253 in text).
const (
	maxDomainLen = 253
	maxLabelLen  = 63
)

// Domain is a mail domain in the one form everything else compares by: lower
// case, A-labels ("xn--…") for international labels, no trailing dot. An
// address literal keeps its brackets: "[192.0.2.1]", "[ipv6:2001:db8::1]".
// The zero value is no domain.
type Domain string

// Errors of ParseDomain and ParseAddress. They are wrapped with what exactly
// is wrong and where.
var (
	ErrDomain  = errors.New("malformed domain")
	ErrAddress = errors.New("malformed address")
)

// ParseDomain gives the canonical form of a domain name (RFC 5321 §4.1.2
// Domain, RFC 5890 for international names); an address literal is refused,
// see ParseLiteral. The error wraps ErrDomain and says what is wrong.
//
// Deviation: underscores are accepted in labels, since hosts with such names
// do send mail. "xn--" labels are taken as they are: whether they decode is
// for the DNS to say.
func ParseDomain(s string) (Domain, error) {
	if s == "" {
		return "", fmt.Errorf("%w: empty", ErrDomain)
	}
	if len(s) > 4*maxDomainLen { // before any work on it: no name shrinks by more than this
		return "", fmt.Errorf("%w: longer than %d octets", ErrDomain, maxDomainLen)
	}
	if s[0] == '[' {
		return "", fmt.Errorf("%w: an address literal is not a name", ErrDomain)
	}
	if !isASCII(s) {
		a, err := toASCII(s)
		if err != nil {
			return "", err
		}
		s = a
	}
	s = strings.ToLower(s)
	if len(s) > maxDomainLen {
		return "", fmt.Errorf("%w: longer than %d octets", ErrDomain, maxDomainLen)
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return Domain(s), nil
}

func toASCII(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: not UTF-8", ErrDomain)
	}
	// Lookup rules of UTS #46 without its rule about hyphens in places 3 and 4.
	p := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true),
		idna.CheckHyphens(false), idna.StrictDomainName(false), idna.Transitional(false))
	a, err := p.ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrDomain, err)
	}
	if !isASCII(a) {
		return "", fmt.Errorf("%w: no ASCII form", ErrDomain)
	}
	return a, nil
}

func checkLabel(l string) error {
	switch {
	case l == "":
		return fmt.Errorf("%w: empty label", ErrDomain)
	case len(l) > maxLabelLen:
		return fmt.Errorf("%w: label longer than %d octets", ErrDomain, maxLabelLen)
	case l[0] == '-' || l[len(l)-1] == '-':
		return fmt.Errorf("%w: label begins or ends with a hyphen", ErrDomain)
	}
	for i := 0; i < len(l); i++ {
		c := l[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			continue
		}
		return fmt.Errorf("%w: character %q in a label", ErrDomain, c)
	}
	return nil
}

// ParseLiteral parses an address literal with its brackets (RFC 5321 §4.1.3):
// IPv4, or IPv6 with its tag. The general form with other tags is refused:
// there is no such tag registered. The error wraps ErrDomain.
func ParseLiteral(s string) (Domain, error) {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return "", fmt.Errorf("%w: address literal without brackets", ErrDomain)
	}
	in := s[1 : len(s)-1]
	v6 := false
	if len(in) >= 5 && strings.EqualFold(in[:5], "ipv6:") {
		in, v6 = in[5:], true
	}
	ip, err := netip.ParseAddr(in)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return "", fmt.Errorf("%w: address literal %q", ErrDomain, s)
	}
	if v6 {
		return Domain("[ipv6:" + ip.String() + "]"), nil
	}
	return Domain("[" + ip.String() + "]"), nil
}

// Literal returns the IP address of an address literal, and whether d is one.
func (d Domain) Literal() (netip.Addr, bool) {
	s := string(d)
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(s[1:len(s)-1], "ipv6:"))
	return ip, err == nil
}

// Unicode returns d with its A-labels decoded, for people to read. What does
// not decode stays as it is.
func (d Domain) Unicode() string {
	if !strings.Contains(string(d), "xn--") {
		return string(d)
	}
	u, err := idna.Punycode.ToUnicode(string(d))
	if err != nil {
		return string(d)
	}
	return u
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
