package mailauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"math"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// canonOctets is how much canonical text is gathered before it is hashed.
const canonOctets = 4 << 10

// bodyHash makes the hash of a body in simple or relaxed form (RFC 6376
// §3.4.3, §3.4.4) of octets as they come. What it holds back is counted, not
// kept: empty lines that may be the last ones, white space that may be at the
// end of a line, and a CR.
type bodyHash struct {
	relaxed bool
	left    int64 // canonical octets that are still hashed; of l=
	n       int64 // canonical octets

	lines int64 // line ends held back
	blank bool  // white space held back; relaxed only
	cr    bool  // CR held back, after blank

	h   hash.Hash
	buf []byte
	sum []byte // once it has ended
}

func newBodyHash(relaxed bool) *bodyHash {
	return &bodyHash{relaxed: relaxed, left: math.MaxInt64, h: sha256.New(), buf: make([]byte, 0, canonOctets)}
}

// Write takes the next octets of the body; it never fails.
func (b *bodyHash) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		switch c := p[i]; {
		case c == '\n' && b.cr:
			b.cr, b.blank = false, false
			b.lines++
			i++
		case c == '\r':
			if b.cr {
				b.release()
			}
			b.cr = true
			i++
		case b.relaxed && (c == ' ' || c == '\t'):
			if b.cr {
				b.release()
			}
			b.blank = true
			i++
		default:
			b.release()
			run := b.run(p[i:])
			b.put(p[i : i+run])
			i += run
		}
	}
	return len(p), nil
}

// run is how many octets, at least one, go through as they are.
func (b *bodyHash) run(p []byte) int {
	if !b.relaxed {
		if n := bytes.IndexByte(p[1:], '\r'); n >= 0 {
			return n + 1
		}
		return len(p)
	}
	i := 1
	for i < len(p) {
		switch c := p[i]; {
		case c > ' ', c != ' ' && c != '\t' && c != '\r':
			i++
		case c == ' ' && i+1 < len(p) && p[i+1] > ' ': // between words
			i += 2
		default:
			return i
		}
	}
	return i
}

// release lets go what was held back, since more of the body follows on it.
func (b *bodyHash) release() {
	for ; b.lines > 0; b.lines-- {
		b.put(crlf)
	}
	if b.blank {
		b.put(space)
	}
	if b.cr {
		b.put(crlf[:1])
	}
	b.blank, b.cr = false, false
}

var (
	crlf  = []byte("\r\n")
	space = []byte(" ")
)

func (b *bodyHash) put(p []byte) {
	b.n += int64(len(p))
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	b.left -= int64(len(p))
	if len(b.buf)+len(p) > cap(b.buf) {
		b.h.Write(b.buf)
		b.buf = b.buf[:0]
	}
	if len(p) > cap(b.buf) {
		b.h.Write(p)
		return
	}
	b.buf = append(b.buf, p...)
}

// Sum ends the body and returns its hash.
func (b *bodyHash) Sum() []byte {
	if b.sum != nil {
		return b.sum
	}
	if b.cr {
		b.release()
	}
	// The last line gets an end if it has none; an empty body is an empty
	// line in simple form, and nothing in relaxed form.
	if b.n > 0 || !b.relaxed {
		b.put(crlf)
	}
	b.h.Write(b.buf)
	b.sum = b.h.Sum(nil)
	return b.sum
}

// appendField appends the canonical form of a header field, without the line
// end after it (RFC 6376 §3.4.1, §3.4.2).
func appendField(dst, raw []byte, relaxed bool) []byte {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	raw = bytes.TrimSuffix(raw, []byte("\r"))
	if !relaxed {
		return append(dst, raw...)
	}
	colon := bytes.IndexByte(raw, ':')
	name := bytes.TrimRight(raw[:colon], " \t")
	dst = append(dst, strings.ToLower(string(name))...)
	dst = append(dst, ':')
	start, blank := len(dst), false
	for i := colon + 1; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == ' ' || c == '\t':
			blank = true
		case c == '\n', c == '\r' && i+1 < len(raw) && raw[i+1] == '\n': // a fold
		default:
			if blank && len(dst) > start {
				dst = append(dst, ' ')
			}
			blank = false
			dst = append(dst, c)
		}
	}
	return dst
}

// fieldPicker gives the fields of a header as a list of h= wants them: the
// last one of a name first (RFC 6376 §5.4.2).
type fieldPicker struct {
	fields map[string][][]byte // by name in lower case, in order
}

func newFieldPicker(header []byte) *fieldPicker {
	p := &fieldPicker{fields: map[string][][]byte{}}
	for f := range message.Fields(header) {
		name := strings.ToLower(f.Name)
		p.fields[name] = append(p.fields[name], f.Raw)
	}
	return p
}

// appendSigned appends the canonical form of the fields that are listed. A
// name that is listed more often than it is there counts as nothing then.
func (p *fieldPicker) appendSigned(dst []byte, names []string, relaxed bool) []byte {
	used := map[string]int{}
	for _, name := range names {
		name = strings.ToLower(name)
		all := p.fields[name]
		if used[name]++; used[name] > len(all) {
			continue
		}
		dst = appendField(dst, all[len(all)-used[name]], relaxed)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
