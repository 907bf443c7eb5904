package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrDowngrade says that a message cannot be made 7-bit without a loss: it has
// 8-bit octets where no transfer encoding can be.
var ErrDowngrade = errors.New("no 7-bit form")

// maxSevenBitLine bounds a line of a body in octets, without its end (RFC 5321
// §4.5.3.1.6, RFC 2045 §2.7).
const maxSevenBitLine = 998

// Downgrade writes the message to w with every part in 7-bit form (RFC 6152
// §3). The body of a leaf that has 8-bit octets, long lines, NULs, bare CR or
// LF is encoded: in quoted-printable if it is text and mostly ASCII, else in
// base64; decoded it is what it was, octet for octet. Labels of 8bit and binary
// become 7bit. Nothing else changes; fields keep their lines, and 8-bit octets
// of a preamble or epilogue, which nobody is to read, become "*".
//
// The error wraps ErrDowngrade if the message cannot be, and then nothing was
// written; else it is that of r or w. r is read three times in order. Memory is
// bounded by what a Parser keeps, and one header.
func Downgrade(w io.Writer, r io.ReaderAt, size int64) error {
	p := NewParser(Limits{})
	if _, err := io.Copy(p, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	d := &downgrader{r: r, m: p.Close(), encoding: map[*Part]string{}}
	if d.m.Size != size {
		return fmt.Errorf("read the message: %w", io.ErrUnexpectedEOF)
	}
	for _, defect := range d.m.Defects {
		switch defect.Kind {
		case DepthLimit, PartsLimit, HeaderLimit:
			d.blind = true
		}
	}
	if err := d.plan(d.m.Root, nil); err != nil {
		return err
	}
	d.w = w
	if len(d.encoding) == 0 {
		return d.gap(size)
	}
	if err := d.part(d.m.Root, nil, true); err != nil {
		return err
	}
	return d.gap(size)
}

// downgrader makes one message 7-bit: it plans first, then writes.
type downgrader struct {
	r     io.ReaderAt
	m     *Message
	blind bool // not all of the tree is known: a limit was met
	// encoding is the new label of the parts whose label changes.
	encoding map[*Part]string

	w   io.Writer
	pos int64 // of r, up to which the message was written
}

// plan decides what becomes of a part.
func (d *downgrader) plan(p, parent *Part) error {
	header := &sevenBitScan{}
	if err := d.scan(header, p.HeaderStart, p.BodyStart); err != nil {
		return err
	}
	if header.eight > 0 {
		return fmt.Errorf("%w: 8-bit octets in a header", ErrDowngrade)
	}
	if len(p.Children) == 0 {
		return d.planLeaf(p, parent)
	}
	d.relabel(p)
	if p.Multipart() && !isASCII(p.Boundary()) {
		return fmt.Errorf("%w: 8-bit octets in a boundary", ErrDowngrade)
	}
	for _, c := range p.Children {
		if err := d.plan(c, p); err != nil {
			return err
		}
	}
	return nil
}

// relabel sees to it that a part that is 7-bit says so.
func (d *downgrader) relabel(p *Part) {
	if (p.Encoding == "8bit" || p.Encoding == "binary") && !d.blind {
		d.encoding[p] = "7bit"
	}
}

// assumed tells whether a part is not there, but was assumed by the parser in
// a multipart that has none: it has no header, and cannot get one.
func assumed(p, parent *Part) bool {
	return parent != nil && parent.Multipart() && p.HeaderStart == parent.BodyStart
}

func (d *downgrader) planLeaf(p, parent *Part) error {
	body := &sevenBitScan{}
	if err := d.scan(body, p.BodyStart, p.End); err != nil {
		return err
	}
	if body.good() {
		if !assumed(p, parent) {
			d.relabel(p)
		}
		return nil
	}
	identity := p.Encoding == "" || p.Encoding == "7bit" || p.Encoding == "8bit" || p.Encoding == "binary"
	switch {
	case d.blind:
		return fmt.Errorf("%w: parts beyond a limit", ErrDowngrade)
	case !identity && identityEncoding(p.Encoding):
		return fmt.Errorf("%w: 8-bit octets in the encoding %.40q", ErrDowngrade, p.Encoding)
	case assumed(p, parent):
		return fmt.Errorf("%w: 8-bit octets in a multipart without parts", ErrDowngrade)
	case p.Type == "message" && (p.Subtype == "partial" || p.Subtype == "external-body"):
		return fmt.Errorf("%w: 8-bit octets in a message/%s", ErrDowngrade, p.Subtype)
	}
	d.encoding[p] = "base64"
	if text := p.Type == "text" || p.Type == "message"; text && body.escapes() <= p.Size()/3 {
		d.encoding[p] = "quoted-printable"
	}
	return nil
}

// scan looks at the octets from one place to another.
func (d *downgrader) scan(s *sevenBitScan, from, to int64) error {
	if _, err := io.Copy(s, io.NewSectionReader(d.r, from, to-from)); err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	s.end()
	return nil
}

// sevenBitScan counts what cannot be in 7bit data.
type sevenBitScan struct {
	eight, bare, nul int64 // 8-bit octets; CR or LF alone; NULs
	line, longest    int64
	cr               bool
}

func (s *sevenBitScan) Write(b []byte) (int, error) {
	for _, c := range b {
		if s.cr && c != '\n' {
			s.bare++
		}
		switch {
		case c == '\n':
			if !s.cr {
				s.bare++
			}
			s.longest = max(s.longest, s.line)
			s.line, s.cr = 0, false
			continue
		case c >= 0x80:
			s.eight++
		case c == 0:
			s.nul++
		}
		if s.cr = c == '\r'; !s.cr {
			s.line++
		}
	}
	return len(b), nil
}

func (s *sevenBitScan) end() {
	if s.cr {
		s.bare++
	}
	s.longest = max(s.longest, s.line)
}

func (s *sevenBitScan) good() bool {
	return s.eight+s.bare+s.nul == 0 && s.longest <= maxSevenBitLine
}

// escapes is how many octets quoted-printable has to escape.
func (s *sevenBitScan) escapes() int64 { return s.eight + s.bare + s.nul }

// part writes a part, after what stands before it. root says that it is a
// message's, and so has or may have a MIME-Version.
func (d *downgrader) part(p, parent *Part, root bool) error {
	if err := d.gap(p.HeaderStart); err != nil {
		return err
	}
	encoding, changed := d.encoding[p]
	if !assumed(p, parent) {
		if err := d.header(p, encoding, root); err != nil {
			return err
		}
	}
	for _, c := range p.Children {
		if err := d.part(c, p, p.Message()); err != nil {
			return err
		}
	}
	switch {
	case len(p.Children) > 0:
		return d.gap(p.End)
	case changed && encoding != "7bit":
		return d.encode(p, encoding)
	}
	return d.copy(p.End)
}

// gap writes what stands between parts: delimiters, which are ASCII, and text
// that nobody is to read.
func (d *downgrader) gap(to int64) error {
	if d.pos >= to {
		return nil
	}
	_, err := io.Copy(onlyASCII{d.w}, io.NewSectionReader(d.r, d.pos, to-d.pos))
	d.pos = to
	return err
}

// onlyASCII writes "*" for 8-bit octets: no boundary has one (RFC 2046 §5.1.1).
type onlyASCII struct{ w io.Writer }

func (o onlyASCII) Write(b []byte) (int, error) {
	n := len(b)
	if !isASCII(string(b)) {
		b = bytes.Clone(b)
		for i, c := range b {
			if c >= 0x80 {
				b[i] = '*'
			}
		}
	}
	if _, err := o.w.Write(b); err != nil {
		return 0, err
	}
	return n, nil
}

// copy writes octets as they are.
func (d *downgrader) copy(to int64) error {
	if d.pos >= to {
		return nil
	}
	_, err := io.Copy(d.w, io.NewSectionReader(d.r, d.pos, to-d.pos))
	d.pos = to
	return err
}

// header writes a part's header, with another Content-Transfer-Encoding if it
// gets one, and with an empty line if it needs one: what follows may begin
// with a field now, where before it was no header.
func (d *downgrader) header(p *Part, encoding string, root bool) error {
	ended, err := d.headerEnded(p)
	if err != nil {
		return err
	}
	switch {
	case encoding == "" && !ended && p.End > p.BodyStart:
		if err := d.copy(p.BodyStart); err != nil {
			return err
		}
		_, err := d.w.Write([]byte("\r\n"))
		return err
	case encoding == "" || encoding == p.Encoding && ended:
		return d.copy(p.BodyStart)
	}
	old := make([]byte, p.BodyStart-p.HeaderStart)
	if n, err := d.r.ReadAt(old, p.HeaderStart); n < len(old) {
		return fmt.Errorf("read the message: %w", err)
	}
	d.pos = p.BodyStart
	_, err = d.w.Write(relabelled(old, encoding, root))
	return err
}

// headerEnded tells whether a header ends with an empty line.
func (d *downgrader) headerEnded(p *Part) (bool, error) {
	tail := make([]byte, min(p.BodyStart-p.HeaderStart, 3))
	if n, err := d.r.ReadAt(tail, p.BodyStart-int64(len(tail))); n < len(tail) {
		return false, fmt.Errorf("read the message: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(tail, []byte("\n")), []byte("\r"))
	return len(line) < len(tail) && (len(line) == 0 || line[len(line)-1] == '\n'), nil
}

// relabelled is a header with another Content-Transfer-Encoding, and with a
// MIME-Version if it is a message's and has none.
func relabelled(old []byte, encoding string, root bool) []byte {
	out := make([]byte, 0, len(old)+100)
	drop, version := false, !root
	for len(old) > 0 {
		line := old
		if i := bytes.IndexByte(old, '\n'); i >= 0 {
			line = old[:i+1]
		}
		if old = old[len(line):]; blankLine(line) {
			break
		}
		if name := fieldName(line); !folded(line) {
			drop = strings.EqualFold(string(name), "Content-Transfer-Encoding")
			version = version || strings.EqualFold(string(name), "MIME-Version")
		}
		if !drop {
			out = append(out, line...)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, "\r\n"...)
	}
	if !version {
		out = append(out, "MIME-Version: 1.0\r\n"...)
	}
	return append(append(append(out, "Content-Transfer-Encoding: "...), encoding...), "\r\n\r\n"...)
}

// encode writes a leaf's body in an encoding.
func (d *downgrader) encode(p *Part, encoding string) error {
	var e interface {
		io.Writer
		finish(last bool) error
	} = &qpEncoder{w: d.w}
	if encoding == "base64" {
		e = newBase64Encoder(d.w)
	}
	if _, err := io.Copy(e, p.Decode(d.r)); err != nil {
		return err
	}
	d.pos = p.End
	return e.finish(p.End == d.m.Size)
}
