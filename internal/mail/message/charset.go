package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// charsetDecoder returns what turns text in the named charset into UTF-8. An
// absent or unknown charset and US-ASCII give the tolerant decoder: UTF-8
// where it is valid, Windows-1252 for the other bytes.
func charsetDecoder(name string) transform.Transformer {
	name = strings.ToLower(strings.Trim(name, " \t\"'"))
	switch name {
	case "utf-8", "utf8":
		return encoding.Replacement.NewEncoder() // invalid UTF-8 becomes U+FFFD
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "default", "8bit":
		return tolerant{}
	case "utf-7", "unicode-1-1-utf-7", "x-unicode-1-1-utf-7":
		return &utf7{}
	case "utf-16":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder() // RFC 2781 §4.3
	case "utf-32", "utf-32be":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM).NewDecoder()
	case "utf-32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.UseBOM).NewDecoder()
	case "hz-gb-2312", "hz":
		return simplifiedchinese.HZGB2312.NewDecoder()
	case "iso-8859-1", "latin1", "latin-1", "cp1252", "windows1252":
		return charmap.Windows1252.NewDecoder()
	}
	if n, ok := strings.CutPrefix(name, "cp-"); ok {
		name = "cp" + n
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		return e.NewDecoder()
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e.NewDecoder()
	}
	return tolerant{}
}

// decodeCharset decodes a short text; it never fails.
func decodeCharset(charset string, b []byte) string {
	if len(charset) <= 5 && utf8.Valid(b) && (strings.EqualFold(charset, "utf-8") || charset == "") {
		return string(b)
	}
	out, _, err := transform.Bytes(charsetDecoder(charset), b)
	if err != nil {
		out = appendTolerant(nil, b)
	}
	return strings.ToValidUTF8(string(out), "\ufffd")
}

// tolerant is UTF-8 where it is valid, Windows-1252 for the other bytes.
type tolerant struct{ transform.NopResetter }

func (tolerant) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if c := src[nSrc]; c < utf8.RuneSelf {
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst, nSrc = nDst+1, nSrc+1
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(src[nSrc])
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}

// appendTolerant is tolerant for a text at hand.
func appendTolerant(dst, src []byte) []byte {
	for len(src) > 0 {
		r, n := utf8.DecodeRune(src)
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(src[0])
		}
		dst = utf8.AppendRune(dst, r)
		src = src[n:]
	}
	return dst
}
