package mailauth

import (
	"errors"
	"fmt"
	"strings"
)

// expansionOctetsMax bounds what a macro string may expand to, in octets: a
// name is 253, an explanation a line of a reply. It leaves room for what is
// cut off a long name, and a record cannot make more of itself than this.
const expansionOctetsMax = 8 << 10

// partsMax bounds the number in a macro. Domains have at most 127 labels
// (RFC 7208 §7.3); more than this is the same as all.
const partsMax = 1000

var errExpansion = errors.New("macros expand to more than 8 KB")

// macroString is a parsed macro-string (RFC 7208 §7.1).
type macroString []macroPart

// macroPart is literal text, or, if letter is set, a macro.
type macroPart struct {
	literal string
	letter  byte // lower case
	escape  bool // the letter was upper case: escaped as in a URL
	keep    int  // so many parts from the right; 0: all
	reverse bool
	delims  string // empty: "."
}

// parseMacros parses a macro-string. What may stand in names is visible; an
// explanation may have spaces too.
func parseMacros(s string, explanation bool) (macroString, error) {
	out := macroString{} // not nil: nil is the absence of one
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			out = append(out, macroPart{literal: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c != '%':
			if (c <= ' ' || c > '~') && !(c == ' ' && explanation) {
				return nil, fmt.Errorf("%s in a macro string", octet(c))
			}
			text.WriteByte(c)
			continue
		case i+1 == len(s):
			return nil, errors.New("% at the end of a macro string")
		}
		i++
		switch s[i] {
		case '%':
			text.WriteByte('%')
		case '_':
			text.WriteByte(' ')
		case '-':
			text.WriteString("%20")
		case '{':
			inner, _, ok := strings.Cut(s[i+1:], "}")
			if !ok {
				return nil, errors.New("%{ without }")
			}
			m, err := parseMacro(inner)
			if err != nil {
				return nil, err
			}
			flush()
			out = append(out, m)
			i += 1 + len(inner)
		default:
			return nil, fmt.Errorf("%s behind %%; %%%% is a percent sign", octet(s[i]))
		}
	}
	flush()
	return out, nil
}

// octet is c for a message.
func octet(c byte) string {
	if c < ' ' || c > '~' {
		return fmt.Sprintf("octet 0x%02x", c)
	}
	return fmt.Sprintf("%q", c)
}

// parseMacro parses what stands between the braces: letter, transformers,
// delimiters.
func parseMacro(s string) (macroPart, error) {
	if s == "" {
		return macroPart{}, errors.New("%{} has no letter")
	}
	m := macroPart{letter: s[0] | 0x20, escape: s[0]&0x20 == 0}
	if strings.IndexByte("slodiphcrtv", m.letter) < 0 {
		return macroPart{}, fmt.Errorf("%s is no macro letter", octet(s[0]))
	}
	rest := s[1:]
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		m.keep = min(m.keep*10+int(rest[digits]-'0'), partsMax)
		digits++
	}
	if digits > 0 && m.keep == 0 {
		return macroPart{}, fmt.Errorf("%%{%s} keeps no parts", shown(s))
	}
	rest = rest[digits:]
	if rest != "" && rest[0]|0x20 == 'r' {
		m.reverse, rest = true, rest[1:]
	}
	if i := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune(".-+,/_=", r) }); i >= 0 {
		return macroPart{}, fmt.Errorf("%q in a macro is neither a transformer nor a delimiter", shown(rest[i:]))
	}
	m.delims = rest
	return m, nil
}

// uses tells whether a macro of one of these letters is in m.
func (m macroString) uses(letters string) bool {
	for _, p := range m {
		if p.letter != 0 && strings.IndexByte(letters, p.letter) >= 0 {
			return true
		}
	}
	return false
}

// fixed tells whether m has no macros, so that it is the same for every client.
func (m macroString) fixed() bool { return !m.uses("slodiphcrtv") }

// expand puts values in place of macros (RFC 7208 §7.3).
func (m macroString) expand(value func(letter byte) string) (string, error) {
	var b strings.Builder
	for _, p := range m {
		v := p.literal
		if p.letter != 0 {
			v = p.transform(value(p.letter))
		}
		if b.Len()+len(v) > expansionOctetsMax {
			return "", errExpansion
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

func (p macroPart) transform(v string) string {
	if p.keep > 0 || p.reverse || p.delims != "" {
		delims := p.delims
		if delims == "" {
			delims = "."
		}
		parts := []string{}
		for start, i := 0, 0; i <= len(v); i++ {
			if i == len(v) || strings.IndexByte(delims, v[i]) >= 0 {
				parts = append(parts, v[start:i])
				start = i + 1
			}
		}
		if p.reverse {
			for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
				parts[i], parts[j] = parts[j], parts[i]
			}
		}
		if p.keep > 0 && p.keep < len(parts) {
			parts = parts[len(parts)-p.keep:]
		}
		v = strings.Join(parts, ".")
	}
	if p.escape {
		v = escapeURL(v)
	}
	return v
}

// escapeURL escapes everything but RFC 3986 §2.3's unreserved characters.
func escapeURL(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool { return isAlpha(c) || isDigit(c) }
