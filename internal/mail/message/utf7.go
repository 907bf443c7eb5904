package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf7 decodes UTF-7 (RFC 2152), which x/text lacks and old mail has. What is
// malformed becomes U+FFFD.
type utf7 struct {
	shifted bool
	empty   bool   // nothing since the "+"
	bits    uint32 // pending, the lowest n
	n       uint
	high    rune // high surrogate that waits for its low one
}

func (u *utf7) Reset() { *u = utf7{} }

// longestStep is the most a single byte can produce: a lone high surrogate's
// replacement, a character, and the byte that ends the sequence.
const longestStep = 3 * utf8.UTFMax

func (u *utf7) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if nDst+longestStep > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += len(u.step(dst[nDst:nDst], src[nSrc]))
		nSrc++
	}
	if atEOF && u.shifted {
		if nDst+longestStep > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += len(u.unshift(dst[nDst:nDst]))
	}
	return nDst, nSrc, nil
}

func (u *utf7) step(dst []byte, c byte) []byte {
	if !u.shifted {
		switch {
		case c == '+':
			u.shifted, u.empty = true, true
			return dst
		case c >= utf8.RuneSelf:
			return utf8.AppendRune(dst, utf8.RuneError)
		}
		return append(dst, c)
	}
	v := base64Value[c]
	if v < 64 {
		u.empty = false
		return u.feed(dst, uint32(v))
	}
	empty := u.empty
	dst = u.unshift(dst)
	switch {
	case c == '-' && empty:
		return append(dst, '+')
	case c == '-':
		return dst
	case c >= utf8.RuneSelf:
		return utf8.AppendRune(dst, utf8.RuneError)
	}
	return append(dst, c)
}

// feed takes six bits.
func (u *utf7) feed(dst []byte, v uint32) []byte {
	u.bits, u.n = u.bits<<6|v, u.n+6
	if u.n < 16 {
		return dst
	}
	u.n -= 16
	r := rune(u.bits >> u.n & 0xffff)
	u.bits &= 1<<u.n - 1
	if u.high != 0 {
		whole := utf16.DecodeRune(u.high, r)
		u.high = 0
		if dst = utf8.AppendRune(dst, whole); whole != utf8.RuneError || utf16.IsSurrogate(r) {
			return dst
		}
	}
	if r >= 0xd800 && r < 0xdc00 {
		u.high = r
		return dst
	}
	return utf8.AppendRune(dst, r)
}

func (u *utf7) unshift(dst []byte) []byte {
	if u.high != 0 {
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	*u = utf7{}
	return dst
}
