package message

import (
	"io"

	"golang.org/x/text/transform"
)

// Decode returns the body of p without its transfer encoding. r is the whole
// message. Base64 and quoted-printable are read as tolerantly as can be: what
// does not belong is skipped or kept, and never an error; errors are r's. Other
// encodings, unknown ones too, give the bytes as they are, as do multiparts
// and embedded messages. Not for concurrent use; r is read in order.
func (p *Part) Decode(r io.ReaderAt) io.Reader {
	body := io.NewSectionReader(r, p.BodyStart, p.End-p.BodyStart)
	if len(p.Children) > 0 {
		return body
	}
	switch p.Encoding {
	case "base64":
		return &decodeReader{src: body, d: &base64Decoder{}}
	case "quoted-printable":
		return &decodeReader{src: body, d: &qpDecoder{}}
	}
	return body
}

// Text returns the body of p as UTF-8: transfer encoding removed, and for a
// text part its charset decoded. Bytes that are wrong in the charset become
// U+FFFD; where there is no charset, US-ASCII or an unknown one, UTF-8 is read
// as such and other bytes as Windows-1252. Line ends stay as they are.
func (p *Part) Text(r io.ReaderAt) io.Reader {
	body := p.Decode(r)
	if p.Type != "text" {
		return body
	}
	return transform.NewReader(body, charsetDecoder(p.Param("charset")))
}

// decoder removes a transfer encoding, piece by piece.
type decoder interface {
	// decode appends the decoded form of src, at most len(src)+maxBlanks bytes.
	decode(dst, src []byte) []byte
	// finish appends what was held back at the end of the input.
	finish(dst []byte) []byte
}

// decodeBytes is how much is read and decoded at a time.
const decodeBytes = 16 << 10

// decodeReader drives a decoder over a reader.
type decodeReader struct {
	src  io.Reader
	d    decoder
	in   []byte
	buf  []byte
	out  []byte // of buf, not yet read
	done error
}

func (r *decodeReader) Read(b []byte) (int, error) {
	for len(r.out) == 0 && r.done == nil && len(b) > 0 {
		if r.in == nil {
			r.in = make([]byte, decodeBytes)
		}
		n, err := r.src.Read(r.in)
		r.buf = r.d.decode(r.buf[:0], r.in[:n])
		if err == io.EOF {
			r.buf = r.d.finish(r.buf)
		}
		r.out, r.done = r.buf, err
	}
	n := copy(b, r.out)
	r.out = r.out[n:]
	if n == 0 && len(b) > 0 {
		return 0, r.done
	}
	return n, nil
}

// base64Value is the value of each base64 digit, 64 for padding, 255 for what
// is not of the alphabet (RFC 2045 §6.8 says to skip it).
var base64Value = func() (t [256]byte) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = 255
	}
	for i := range len(digits) {
		t[digits[i]] = byte(i)
	}
	t['='] = 64
	return t
}()

// base64Decoder decodes base64 (RFC 2045 §6.8). Padding ends a quantum and not
// the text, since bodies are found that were joined from several; a last
// quantum without padding counts too.
type base64Decoder struct {
	bits uint32
	n    int // digits in bits
}

func (d *base64Decoder) decode(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if d.n == 0 {
			for i+4 <= len(src) {
				a, b := base64Value[src[i]], base64Value[src[i+1]]
				c, e := base64Value[src[i+2]], base64Value[src[i+3]]
				if a|b|c|e >= 64 {
					break
				}
				v := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(e)
				dst = append(dst, byte(v>>16), byte(v>>8), byte(v))
				i += 4
			}
			if i == len(src) {
				break
			}
		}
		switch v := base64Value[src[i]]; {
		case v < 64:
			d.bits = d.bits<<6 | uint32(v)
			if d.n++; d.n == 4 {
				dst = append(dst, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
				d.bits, d.n = 0, 0
			}
		case v == 64:
			dst = d.finish(dst)
		}
		i++
	}
	return dst
}

func (d *base64Decoder) finish(dst []byte) []byte {
	switch d.n {
	case 2:
		dst = append(dst, byte(d.bits>>4))
	case 3:
		dst = append(dst, byte(d.bits>>10), byte(d.bits>>2))
	}
	d.bits, d.n = 0, 0
	return dst
}

// maxBlanks bounds the white space held back until it is known whether a line
// ends after it. RFC 2045 §6.7 has lines of 76 characters.
const maxBlanks = 1000

// qpDecoder decodes quoted-printable (RFC 2045 §6.7): white space at the end
// of a line is dropped; escapes that are none stay as they are.
type qpDecoder struct {
	// held is what cannot be decided yet: "=" and one hexadecimal digit, or an
	// optional "=", white space, and an optional CR, until a line end follows.
	held []byte
}

func (d *qpDecoder) decode(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if len(d.held) > 0 {
			dst = d.step(dst, src[i])
			i++
			continue
		}
		run := i
		for i < len(src) && (src[i] > ' ' && src[i] != '=' || src[i] == ' ' && i+1 < len(src) && src[i+1] > ' ') {
			i++
		}
		dst = append(dst, src[run:i]...)
		if i < len(src) {
			dst = d.take(dst, src[i])
			i++
		}
	}
	return dst
}

// take decodes a byte while none is held.
func (d *qpDecoder) take(dst []byte, c byte) []byte {
	if c == '=' || isBlank(c) || c == '\r' {
		d.held = append(d.held, c)
		return dst
	}
	return append(dst, c)
}

// step decodes a byte while some are held.
func (d *qpDecoder) step(dst []byte, c byte) []byte {
	h := d.held
	escape, last := h[0] == '=', h[len(h)-1]
	switch {
	case escape && len(h) == 2 && hexValue(last) < 16:
		if hexValue(c) < 16 {
			d.held = h[:0]
			return append(dst, hexValue(last)<<4|hexValue(c))
		}
	case escape && len(h) == 1 && hexValue(c) < 16:
		d.held = append(h, c)
		return dst
	case c == '\n':
		d.held = h[:0]
		if escape { // soft line break
			return dst
		}
		if last == '\r' {
			dst = append(dst, '\r')
		}
		return append(dst, '\n')
	case last != '\r' && (isBlank(c) && len(h) < maxBlanks || c == '\r'):
		d.held = append(h, c)
		return dst
	}
	d.held = h[:0]
	return d.take(append(dst, h...), c)
}

func (d *qpDecoder) finish(dst []byte) []byte {
	h := d.held
	d.held = nil
	switch {
	case len(h) == 0:
	case h[0] == '=' && len(h) == 2 && hexValue(h[1]) < 16:
		return append(dst, h...)
	case h[0] != '=' && h[len(h)-1] == '\r':
		return append(dst, '\r')
	}
	return dst
}
