package wire

import (
	"strconv"
	"unicode/utf8"
)

// quotedMax is the longest string that is printed with quotes; a longer one
// becomes a literal. Old clients read quoted strings into fixed buffers.
const quotedMax = 1000

// AppendAString prints v for a command: as an atom if it may be one, else as
// AppendString does but with a non-synchronising literal.
func AppendAString(dst []byte, v string) []byte {
	if isAString(v) {
		return append(dst, v...)
	}
	dst, quoted := tryQuoted(dst, v, true)
	if quoted {
		return dst
	}
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(v)), 10)
	dst = append(dst, "+}\r\n"...)
	return append(dst, v...)
}

func isAString(v string) bool {
	if v == "" || len(v) > quotedMax {
		return false
	}
	for i := range len(v) {
		if classOf(v[i])&classAString == 0 {
			return false
		}
	}
	// NIL without quotes is not the string "NIL" (RFC 9051 §4.5).
	return len(v) != 3 || v[0]|0x20 != 'n' || v[1]|0x20 != 'i' || v[2]|0x20 != 'l'
}

// What a byte does to a quoted string.
const (
	quoteEscape = 1 << iota // needs a backslash
	quoteEight              // is not ASCII
	quoteNever              // may not be there
)

func quoteClass(c byte) uint8 {
	switch {
	case c >= 0x80:
		return quoteEight
	case c == '"' || c == '\\':
		return quoteEscape
	case c == 0 || c == '\r' || c == '\n':
		return quoteNever
	}
	return 0
}

// quoteClasses is the union of the classes of v's bytes.
func quoteClasses(v string) uint8 {
	var all uint8
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			all |= quoteClass(c)
		}
	}
	return all
}

// tryQuoted prints v between quotes if it may stand there; eight allows UTF-8.
func tryQuoted(dst []byte, v string, eight bool) ([]byte, bool) {
	if len(v) > quotedMax {
		return dst, false
	}
	class := quoteClasses(v)
	if class&quoteNever != 0 || class&quoteEight != 0 && !(eight && utf8.ValidString(v)) {
		return dst, false
	}
	dst = append(dst, '"')
	start := 0
	if class&quoteEscape != 0 {
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				dst = append(dst, v[start:i]...)
				dst = append(dst, '\\')
				start = i
			}
		}
	}
	dst = append(dst, v[start:]...)
	return append(dst, '"'), true
}

// AppendString prints v for a response, quoted where it may be, else as a
// literal. eight allows UTF-8 between quotes (RFC 6855, RFC 9051); without it
// v with 8-bit bytes becomes a literal. NUL, which no response may hold,
// becomes a space.
func AppendString(dst []byte, v string, eight bool) []byte {
	dst, quoted := tryQuoted(dst, v, eight)
	if quoted {
		return dst
	}
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(v)), 10)
	dst = append(dst, "}\r\n"...)
	for i := range len(v) {
		c := v[i]
		if c == 0 {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendNString prints NIL for the empty string, else as AppendString.
func AppendNString(dst []byte, v string, eight bool) []byte {
	if v == "" {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, v, eight)
}

// AppendMailbox prints a mailbox name of a response: UTF-8 if eight, else
// modified UTF-7 (RFC 3501 §5.1.3).
func AppendMailbox(dst []byte, name string, eight bool) []byte {
	if eight {
		return AppendString(dst, name, true)
	}
	plain := true
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c > 0x7e || c == '&' {
			plain = false
			break
		}
	}
	if plain {
		return AppendString(dst, name, false)
	}
	return AppendString(dst, string(AppendUTF7(nil, name)), false)
}

// AppendFlags prints a parenthesised list.
func AppendFlags(dst []byte, flags []string) []byte {
	dst = append(dst, '(')
	for i, f := range flags {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, f...)
	}
	return append(dst, ')')
}
