package mailauth

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// recordOctetsMax bounds a record, in octets. RFC 7208 §3.4 wants 450 at most;
// a few large senders have thousands, and longer ones would only cost us time.
const recordOctetsMax = 8 << 10

const version = "v=spf1"

// kind is what a mechanism does.
type kind uint8

const (
	kindAll kind = iota
	kindInclude
	kindA
	kindMX
	kindPTR
	kindIP // ip4 and ip6
	kindExists
)

// record is a parsed SPF record (RFC 7208 §4.6.1).
type record struct {
	mechanisms []mechanism
	redirect   *modifier
	exp        *modifier
}

// mechanism is a directive: a qualifier and a mechanism.
type mechanism struct {
	text   string    // as written
	result SPFResult // of the qualifier
	kind   kind
	domain macroString  // nil: the domain of the record
	prefix netip.Prefix // kindIP
	bits4  int          // kindA, kindMX
	bits6  int
}

type modifier struct {
	text   string
	domain macroString
}

// isRecord tells whether a TXT record is one of SPF's (RFC 7208 §4.5).
func isRecord(s string) bool {
	return len(s) >= len(version) && strings.EqualFold(s[:len(version)], version) &&
		(len(s) == len(version) || s[len(version)] == ' ')
}

// parseRecord parses a record for which isRecord holds. The first error
// anywhere in it makes it void as a whole (RFC 7208 §4.6).
func parseRecord(s string) (record, error) {
	var r record
	if len(s) > recordOctetsMax {
		return r, fmt.Errorf("the record is longer than %d octets", recordOctetsMax)
	}
	for term := range strings.SplitSeq(s[len(version):], " ") {
		if term == "" {
			continue
		}
		if err := r.add(term); err != nil {
			return record{}, fmt.Errorf("%s: %w", shown(term), err)
		}
	}
	return r, nil
}

// printable is s with what cannot be shown in question marks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// shownOctetsMax bounds what a message about a term repeats of it.
const shownOctetsMax = 80

// shown is s for a message.
func shown(s string) string {
	if len(s) > shownOctetsMax {
		return printable(s[:shownOctetsMax]) + "…"
	}
	return printable(s)
}

func (r *record) add(term string) error {
	if i := strings.IndexAny(term, "=:/"); i >= 0 && term[i] == '=' {
		return r.addModifier(term, strings.ToLower(term[:i]), term[i+1:])
	}
	m, err := parseMechanism(term)
	if err == nil {
		r.mechanisms = append(r.mechanisms, m)
	}
	return err
}

func (r *record) addModifier(term, name, value string) error {
	known := &r.redirect
	switch {
	case !isModifierName(name):
		return errors.New("a modifier's name begins with a letter and has letters, digits, - _ and . in it")
	case name == "exp":
		known = &r.exp
	case name != "redirect":
		_, err := parseMacros(value, false) // §6: unknown ones are passed over, if they are well-formed
		return err
	}
	if *known != nil {
		return fmt.Errorf("%s= stands there twice", name)
	}
	domain, err := parseDomainSpec(value)
	if err != nil {
		return err
	}
	*known = &modifier{text: term, domain: domain}
	return nil
}

func isModifierName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && (i == 0 || strings.IndexByte("-_.", s[i]) < 0) {
			return false
		}
	}
	return s != "" && isAlpha(s[0])
}

func parseMechanism(term string) (mechanism, error) {
	m := mechanism{text: term, result: Pass, bits4: 32, bits6: 128}
	rest := term
	switch term[0] {
	case '+':
		rest = term[1:]
	case '-':
		m.result, rest = Fail, term[1:]
	case '~':
		m.result, rest = SoftFail, term[1:]
	case '?':
		m.result, rest = Neutral, term[1:]
	}
	name, arg := rest, ""
	if i := strings.IndexAny(rest, ":/"); i >= 0 {
		name, arg = rest[:i], rest[i:]
	}
	var err error
	switch strings.ToLower(name) {
	case "all":
		m.kind = kindAll
		if arg != "" {
			err = errors.New("all takes nothing behind it")
		}
	case "include":
		m.kind = kindInclude
		m.domain, err = parseTarget(arg, true)
	case "exists":
		m.kind = kindExists
		m.domain, err = parseTarget(arg, true)
	case "ptr":
		m.kind = kindPTR
		m.domain, err = parseTarget(arg, false)
	case "a":
		m.kind = kindA
		err = m.parseDual(arg)
	case "mx":
		m.kind = kindMX
		err = m.parseDual(arg)
	case "ip4":
		m.kind = kindIP
		m.prefix, err = parseNetwork(arg, 32)
	case "ip6":
		m.kind = kindIP
		m.prefix, err = parseNetwork(arg, 128)
	default:
		err = errors.New("there is no such mechanism")
	}
	return m, err
}

// parseTarget parses [":" domain-spec].
func parseTarget(arg string, needed bool) (macroString, error) {
	if arg == "" && !needed {
		return nil, nil
	}
	if arg == "" || arg[0] != ':' {
		return nil, errors.New("a colon and a domain must follow")
	}
	return parseDomainSpec(arg[1:])
}

// parseDual parses [":" domain-spec] [dual-cidr-length] (RFC 7208 §5.3). A
// slash may be part of the name, so the lengths are taken from the end.
func (m *mechanism) parseDual(arg string) error {
	var err error
	if head, bits, ok := cutDigits(arg, "//"); ok {
		if m.bits6, err = parseBits(bits, 128); err != nil {
			return err
		}
		arg = head
	}
	if head, bits, ok := cutDigits(arg, "/"); ok {
		if m.bits4, err = parseBits(bits, 32); err != nil {
			return err
		}
		arg = head
	}
	m.domain, err = parseTarget(arg, false)
	return err
}

// cutDigits cuts sep and the digits that end s.
func cutDigits(s, sep string) (head, digits string, ok bool) {
	i := len(s)
	for i > 0 && isDigit(s[i-1]) {
		i--
	}
	if i == len(s) || !strings.HasSuffix(s[:i], sep) {
		return s, "", false
	}
	return s[:i-len(sep)], s[i:], true
}

func parseBits(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n > most || len(s) > 1 && s[0] == '0' || !isDigit(s[0]) {
		return 0, fmt.Errorf("/%s is no length of a network of %d bits", shown(s), most)
	}
	return n, nil
}

// parseNetwork parses ":" ip-network [cidr-length] (RFC 7208 §5.6).
func parseNetwork(arg string, most int) (netip.Prefix, error) {
	if arg == "" || arg[0] != ':' {
		return netip.Prefix{}, errors.New("a colon and an address must follow")
	}
	text, length, cut := strings.Cut(arg[1:], "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4() != (most == 32) || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address of this kind", shown(text))
	}
	bits := most
	if cut {
		if length == "" {
			return netip.Prefix{}, errors.New("a slash without a length")
		}
		if bits, err = parseBits(length, most); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// parseDomainSpec parses a domain-spec (RFC 7208 §7.1): a macro string that
// ends in a macro, or in a dot and a top label.
func parseDomainSpec(s string) (macroString, error) {
	if s == "" {
		return nil, errors.New("the domain is empty")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return nil, errors.New("an address where a domain must stand; ip4: or ip6: is meant")
	}
	m, err := parseMacros(s, false)
	if err != nil {
		return nil, err
	}
	if m.uses("crt") {
		return nil, errors.New("the macros c, r and t are for explanations only")
	}
	if endsInMacro(s) {
		return m, nil
	}
	s = strings.TrimSuffix(s, ".")
	if i := strings.LastIndexByte(s, '.'); i < 0 || !isTopLabel(s[i+1:]) {
		return nil, errors.New("the domain ends neither in a dot and a top-level domain nor in a macro")
	}
	return m, nil
}

// endsInMacro tells whether a well-formed macro string ends in a macro-expand.
func endsInMacro(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		i++
		if s[i] == '{' {
			i += strings.IndexByte(s[i:], '}')
		}
		if i == len(s)-1 {
			return true
		}
	}
	return false
}

// isTopLabel is RFC 7208 §7.1's toplabel: letters, digits and hyphens, no
// hyphen at either end, not all digits.
func isTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	digits := true
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
		digits = digits && isDigit(s[i])
	}
	return !digits
}
