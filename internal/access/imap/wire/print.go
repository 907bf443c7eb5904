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
	if quotable(v, true) {
		return appendQuoted(dst, v)
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

// quotable says whether v may stand between quotes; eight allows UTF-8.
func quotable(v string, eight bool) bool {
	if len(v) > quotedMax {
		return false
	}
	ascii := true
	for i := range len(v) {
		switch c := v[i]; {
		case c == 0 || c == '\r' || c == '\n':
			return false
		case c >= 0x80:
			ascii = false
		}
	}
	return ascii || eight && utf8.ValidString(v)
}

func appendQuoted(dst []byte, v string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(v) {
		if v[i] == '"' || v[i] == '\\' {
			dst = append(dst, v[start:i]...)
			dst = append(dst, '\\')
			start = i
		}
	}
	dst = append(dst, v[start:]...)
	return append(dst, '"')
}

// AppendString prints v for a response, quoted where it may be, else as a
// literal. eight allows UTF-8 between quotes (RFC 6855, RFC 9051); without it
// v with 8-bit bytes becomes a literal. NUL, which no response may hold,
// becomes a space.
func AppendString(dst []byte, v string, eight bool) []byte {
	if quotable(v, eight) {
		return appendQuoted(dst, v)
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
