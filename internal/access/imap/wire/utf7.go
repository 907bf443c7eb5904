package wire

import (
	"encoding/base64"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// mailboxBase64 is the alphabet of modified UTF-7 (RFC 3501 §5.1.3).
const mailboxBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

func utf7Encoding() *base64.Encoding {
	return base64.NewEncoding(mailboxBase64).WithPadding(base64.NoPadding)
}

// DecodeUTF7 turns a mailbox name in modified UTF-7 (RFC 3501 §5.1.3) into
// UTF-8. A name that is not in the one canonical form (bytes above ASCII, a
// shift for what needs none, two shifts in a row, half a surrogate pair,
// leftover bits) is an error: two spellings of one name would be two mailboxes
// to the client.
func DecodeUTF7(b string) (string, error) {
	out := make([]byte, 0, len(b))
	shifted := false // the byte before ended a shift, so another may not follow
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c < 0x20 || c > 0x7e {
			return "", fmt.Errorf("%w: byte %#x in modified UTF-7", ErrSyntax, c)
		}
		if c != '&' {
			out = append(out, c)
			shifted = false
			continue
		}
		end := i + 1
		for end < len(b) && b[end] != '-' {
			end++
		}
		if end == len(b) {
			return "", fmt.Errorf("%w: unterminated shift in modified UTF-7", ErrSyntax)
		}
		if end == i+1 {
			out = append(out, '&')
			shifted = false
			i = end
			continue
		}
		if shifted {
			return "", fmt.Errorf("%w: needless shift in modified UTF-7", ErrSyntax)
		}
		var err error
		if out, err = decodeShift(out, b[i+1:end]); err != nil {
			return "", err
		}
		shifted = true
		i = end
	}
	return string(out), nil
}

func decodeShift(out []byte, enc string) ([]byte, error) {
	raw, err := utf7Encoding().Strict().DecodeString(enc)
	if err != nil || len(raw)%2 != 0 || len(raw) == 0 {
		return nil, fmt.Errorf("%w: bad base64 in modified UTF-7", ErrSyntax)
	}
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i+3 >= len(raw) {
				return nil, fmt.Errorf("%w: half a surrogate pair", ErrSyntax)
			}
			r = utf16.DecodeRune(r, rune(raw[i+2])<<8|rune(raw[i+3]))
			if r == utf8.RuneError {
				return nil, fmt.Errorf("%w: bad surrogate pair", ErrSyntax)
			}
			i += 2
		}
		if 0x20 <= r && r <= 0x7e {
			return nil, fmt.Errorf("%w: needless shift in modified UTF-7", ErrSyntax)
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// AppendUTF7 prints name in modified UTF-7.
func AppendUTF7(dst []byte, name string) []byte {
	for i := 0; i < len(name); {
		c := name[i]
		if 0x20 <= c && c <= 0x7e {
			dst = append(dst, c)
			if c == '&' {
				dst = append(dst, '-')
			}
			i++
			continue
		}
		var units []byte
		for i < len(name) && (name[i] < 0x20 || name[i] > 0x7e) {
			r, n := utf8.DecodeRuneInString(name[i:])
			i += n
			if r > 0xffff {
				hi, lo := utf16.EncodeRune(r)
				units = append(units, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
				continue
			}
			units = append(units, byte(r>>8), byte(r))
		}
		dst = append(dst, '&')
		dst = utf7Encoding().AppendEncode(dst, units)
		dst = append(dst, '-')
	}
	return dst
}
