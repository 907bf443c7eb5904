package message

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLocalLen bounds a local part, in octets.
//
// Deviation: RFC 5321 §4.5.3.1.1 says 64 and in the same breath asks for no
// limit where possible; return paths of list managers and gateways exceed 64
// in practice, and refusing them loses good mail. 255 keeps a path within any
// command line.
const maxLocalLen = 255

// Address is a mail address as SMTP knows it (RFC 5321 §4.1.2 Mailbox, with
// RFC 6531 UTF-8 local parts). Local is without quoting and keeps its case.
// The zero value is the null reverse-path "<>".
type Address struct {
	Local  string
	Domain Domain
}

// ParseAddress parses local@domain: dot-atom or quoted local part, domain name
// or address literal. No angle brackets, no display name, no source route, no
// comments. The error wraps ErrAddress or ErrDomain and says what is wrong.
//
// Deviation: an empty quoted local part (""@domain) is refused, because it
// names nobody and would collide with the catch-all.
func ParseAddress(s string) (Address, error) {
	if s == "" {
		return Address{}, fmt.Errorf("%w: empty", ErrAddress)
	}
	if !utf8.ValidString(s) {
		return Address{}, fmt.Errorf("%w: not UTF-8", ErrAddress)
	}
	local, rest, err := parseLocal(s)
	if err != nil {
		return Address{}, err
	}
	if local == "" {
		return Address{}, fmt.Errorf("%w: empty local part", ErrAddress)
	}
	if len(local) > maxLocalLen {
		return Address{}, fmt.Errorf("%w: local part longer than %d octets", ErrAddress, maxLocalLen)
	}
	if rest == "" || rest[0] != '@' {
		return Address{}, fmt.Errorf("%w: no @ after the local part", ErrAddress)
	}
	var d Domain
	if rest = rest[1:]; strings.HasPrefix(rest, "[") {
		d, err = ParseLiteral(rest)
	} else {
		d, err = ParseDomain(rest)
	}
	if err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: d}, nil
}

// parseLocal splits s after its local part, which it returns without quoting.
func parseLocal(s string) (local, rest string, err error) {
	if s[0] == '"' {
		return parseQuotedLocal(s)
	}
	end := strings.IndexByte(s, '@')
	if end < 0 {
		end = len(s)
	}
	local = s[:end]
	if err := checkDotAtom(local); err != nil {
		return "", "", err
	}
	return local, s[end:], nil
}

func checkDotAtom(s string) error {
	dot := true // an atom must follow
	for _, r := range s {
		switch {
		case r == '.' && dot:
			return fmt.Errorf("%w: dot at the start of the local part, or two in a row", ErrAddress)
		case r == '.':
			dot = true
		case !isAtext(r):
			return fmt.Errorf("%w: character %q in an unquoted local part", ErrAddress, r)
		default:
			dot = false
		}
	}
	if dot && s != "" {
		return fmt.Errorf("%w: dot at the end of the local part", ErrAddress)
	}
	return nil
}

func parseQuotedLocal(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			c = s[i]
			if c < ' ' || c >= 0x7f {
				return "", "", fmt.Errorf("%w: character %q after a backslash", ErrAddress, c)
			}
		case c < ' ' || c == 0x7f:
			return "", "", fmt.Errorf("%w: control character %q in the local part", ErrAddress, c)
		}
		b.WriteByte(c)
	}
	return "", "", fmt.Errorf("%w: quoted local part without end", ErrAddress)
}

// isAtext is RFC 5322 §3.2.3 atext with the UTF-8 of RFC 6531 §3.3, without
// the C1 control characters, which no mailbox name needs.
func isAtext(r rune) bool {
	switch {
	case r >= 0xa0:
		return true
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	}
	return r < 0x80 && r > ' ' && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(r)) >= 0
}

// String returns the address as it goes into an SMTP path without the angle
// brackets, the local part quoted when it needs to be; "" for the null
// reverse-path. ParseAddress gives back the same Address.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return quoteLocal(a.Local) + "@" + string(a.Domain)
}

func quoteLocal(s string) string {
	if s != "" && checkDotAtom(s) == nil {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// ASCII reports whether a can be written without SMTPUTF8 (RFC 6531); the
// domain always can.
func (a Address) ASCII() bool { return isASCII(a.Local) }
