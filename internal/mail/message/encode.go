package message

import (
	"encoding/base64"
	"io"
)

// maxEncodedLine bounds the lines of both encodings, in characters (RFC 2045
// §6.7, §6.8).
const maxEncodedLine = 76

// qpEncoder encodes in quoted-printable (RFC 2045 §6.7): CRLF is a line end,
// everything else is the octets that it is.
type qpEncoder struct {
	w    io.Writer
	buf  []byte
	line int // characters of the current line

	blank byte // white space held back, since it must not end a line
	cr    bool // CR held back, after blank
}

// Write implements io.Writer.
func (e *qpEncoder) Write(b []byte) (int, error) {
	for _, c := range b {
		e.step(c)
	}
	return len(b), e.flush()
}

func (e *qpEncoder) flush() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func (e *qpEncoder) step(c byte) {
	if e.cr && c == '\n' {
		e.release(true)
		e.newLine("\r\n")
		return
	}
	if e.cr || c != '\r' {
		e.release(false)
	}
	switch {
	case c == '\r':
		e.cr = true
	case c == ' ' || c == '\t':
		e.blank = c
	case c < ' ' || c > '~' || c == '=':
		e.escape(c)
	default:
		e.literal(c)
	}
}

// literal writes a character as it is, but for a dash at the start of a line,
// which could make a delimiter of it.
func (e *qpEncoder) literal(c byte) {
	if e.room(1); c == '-' && e.line == 0 {
		e.escape(c)
		return
	}
	e.buf = append(e.buf, c)
	e.line++
}

// release writes what was held back. ends says that a line ends behind it, and
// that the CR belongs to that.
func (e *qpEncoder) release(ends bool) {
	switch {
	case e.blank != 0 && ends:
		e.escape(e.blank)
	case e.blank != 0:
		e.literal(e.blank)
	}
	if e.cr && !ends {
		e.escape('\r')
	}
	e.blank, e.cr = 0, false
}

func (e *qpEncoder) escape(c byte) {
	const hex = "0123456789ABCDEF"
	e.room(3)
	e.buf = append(e.buf, '=', hex[c>>4], hex[c&15])
	e.line += 3
}

// room sees to it that n characters and a soft line break have room.
func (e *qpEncoder) room(n int) {
	if e.line+n > maxEncodedLine-1 {
		e.newLine("=\r\n")
	}
}

func (e *qpEncoder) newLine(end string) {
	e.buf = append(e.buf, end...)
	e.line = 0
}

// finish ends the text. If nothing follows, its last line gets an end that the
// decoder takes away.
func (e *qpEncoder) finish(last bool) error {
	e.release(!e.cr)
	if last && e.line > 0 {
		e.newLine("=\r\n")
	}
	return e.flush()
}

// base64Encoder encodes in base64 (RFC 2045 §6.8), in lines.
type base64Encoder struct {
	io.WriteCloser
	lines *lineWriter
}

func newBase64Encoder(w io.Writer) *base64Encoder {
	lines := &lineWriter{w: w}
	return &base64Encoder{base64.NewEncoder(base64.StdEncoding, lines), lines}
}

// finish ends the text. If nothing follows, its last line gets an end.
func (e *base64Encoder) finish(last bool) error {
	if err := e.Close(); err != nil || !last || e.lines.line == 0 {
		return err
	}
	_, err := e.lines.w.Write([]byte("\r\n"))
	return err
}

// lineWriter cuts text into lines.
type lineWriter struct {
	w    io.Writer
	buf  []byte
	line int
}

// Write implements io.Writer.
func (l *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	l.buf = l.buf[:0]
	for len(b) > 0 {
		if l.line == maxEncodedLine {
			l.buf = append(l.buf, "\r\n"...)
			l.line = 0
		}
		k := min(len(b), maxEncodedLine-l.line)
		l.buf = append(l.buf, b[:k]...)
		l.line += k
		b = b[k:]
	}
	_, err := l.w.Write(l.buf)
	return n, err
}
