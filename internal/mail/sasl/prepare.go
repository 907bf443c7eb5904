package sasl

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Prepare gives the form of a password (or name) in which it is hashed and
// compared: the mapping and the NFKC of SASLprep (RFC 4013 §2.1, §2.2), so
// that the same password typed on two keyboards, or hashed by a SCRAM client,
// is the same octets.
//
// Deviation: RFC 4013 §2.3-2.5 then refuses what it prohibits, among it each
// character newer than 2002. Prepare refuses nothing: whoever has such a
// password logs in by PLAIN, and for all strings that SASLprep accepts the
// results are equal.
func Prepare(s string) string {
	if isPrintableASCII(s) {
		return s
	}
	return norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case mappedToNothing(r):
			return -1
		case unicode.Is(unicode.Zs, r): // RFC 3454 table C.1.2, less what B.1 took
			return ' '
		}
		return r
	}, s))
}

// mappedToNothing is RFC 3454 table B.1.
func mappedToNothing(r rune) bool {
	switch {
	case r == 0x00AD, r == 0x034F, r == 0x1806, r == 0x2060, r == 0xFEFF,
		r >= 0x180B && r <= 0x180D,
		r >= 0x200B && r <= 0x200D,
		r >= 0xFE00 && r <= 0xFE0F:
		return true
	}
	return false
}

func isPrintableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
