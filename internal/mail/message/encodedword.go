package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// maxCharsetName bounds the name of a charset in an encoded word, in bytes.
const maxCharsetName = 64

// DecodeHeader turns the raw text of a header (a Field's Value, a string of an
// Envelope or a Part) into UTF-8: RFC 2047 encoded words in any place, words
// that split a character, 8-bit text in UTF-8 (RFC 6532) or else in
// Windows-1252. Words that cannot be decoded stay as they are. The result has
// no control characters: they became spaces.
func DecodeHeader(raw string) string {
	if !strings.Contains(raw, "=?") {
		if printable(raw) {
			return raw
		}
		return cleanText(tolerantUTF8(raw))
	}
	var out strings.Builder
	var d wordDecoder
	plain := 0 // start of text not yet written
	for i := 0; i < len(raw); {
		n := strings.Index(raw[i:], "=?")
		if n < 0 {
			break
		}
		i += n
		w, ok := cutEncodedWord(raw[i:min(len(raw), i+maxEncodedWord)])
		if !ok {
			i += 2
			continue
		}
		// White space between two words is not shown (RFC 2047 §6.2).
		gap := raw[plain:i]
		if !d.open || strings.Trim(gap, " \t") != "" {
			d.flush(&out)
			out.WriteString(tolerantUTF8(gap))
		}
		d.add(&out, w)
		i += w.size
		plain = i
	}
	d.flush(&out)
	out.WriteString(tolerantUTF8(raw[plain:]))
	return cleanText(out.String())
}

// encodedWord is one RFC 2047 word as written.
type encodedWord struct {
	charset, text string
	base64        bool
	size          int
}

// cutEncodedWord reads the word at the start of s, which begins with "=?".
func cutEncodedWord(s string) (w encodedWord, ok bool) {
	rest := s[2:]
	n := strings.IndexByte(rest[:min(len(rest), maxCharsetName)], '?')
	if n <= 0 || len(rest) < n+3 || rest[n+2] != '?' {
		return w, false
	}
	w.charset, _, _ = strings.Cut(rest[:n], "*") // RFC 2231 §5: a language may follow
	if strings.ContainsAny(w.charset, " \t=\"") {
		return w, false
	}
	switch rest[n+1] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, false
	}
	rest = rest[n+3:]
	end := strings.Index(rest, "?=")
	if end < 0 {
		return w, false
	}
	w.text = rest[:end]
	w.size = len(s) - len(rest) + end + 2
	return w, true
}

// wordDecoder joins the bytes of adjacent words in one charset before they are
// decoded, for senders that cut characters in two.
type wordDecoder struct {
	open    bool // the last thing written was a word
	charset string
	bytes   []byte
}

func (d *wordDecoder) add(out *strings.Builder, w encodedWord) {
	if d.open && !strings.EqualFold(d.charset, w.charset) {
		d.flush(out)
	}
	d.open, d.charset = true, w.charset
	if w.base64 {
		d.bytes = appendBase64(d.bytes, w.text)
	} else {
		d.bytes = appendQ(d.bytes, w.text)
	}
}

func (d *wordDecoder) flush(out *strings.Builder) {
	if len(d.bytes) > 0 {
		out.WriteString(decodeCharset(d.charset, d.bytes))
	}
	d.open, d.bytes = false, d.bytes[:0]
}

// appendQ decodes the Q encoding (RFC 2047 §4.2), leaving bad escapes alone.
func appendQ(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(s):
			if hi, lo := hexValue(s[i+1]), hexValue(s[i+2]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// appendBase64 decodes base64, skipping what is not of its alphabet.
func appendBase64(dst []byte, s string) []byte {
	if b, err := base64.StdEncoding.AppendDecode(dst, []byte(s)); err == nil {
		return b
	}
	var d base64Decoder
	return d.finish(d.decode(dst, []byte(s)))
}

// printable says whether s is ASCII without control characters but tabs: what
// there is nothing to decode or to clean in.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// tolerantUTF8 returns s with bytes that are not UTF-8 read as Windows-1252.
func tolerantUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string(appendTolerant(nil, []byte(s)))
}

// cleanText replaces control characters, so that decoded text can neither
// break lines nor steer a terminal.
func cleanText(s string) string {
	control := func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, s)
}
