package message

import "bytes"

// blockBytes is how much of the input is worked on at a time: the passes over
// one block find it in the first-level cache.
const blockBytes = 16 << 10

// Parser is the push parser: bytes go in by Write in pieces of any size, and
// Close gives the tree. The tree does not depend on how the bytes were cut.
// It holds the current header and no body, does work linear in the bytes
// whatever they are, and never fails. Not for concurrent use.
type Parser struct {
	lim Limits
	msg *Message

	off  int64 // offset of the next byte
	lf   int64 // line ends before off
	eol  int64 // length of the last line end before the current line: 0 at the start, 1 or 2
	last byte  // the byte before off

	line     []byte // the part already read of a line that has to be seen whole
	lineSize int64  // in a header: bytes of that line so far, of which line may lack the end
	atStart  bool   // outside headers: off is at the start of a line or in a possible delimiter

	stack  []frame        // open parts with children, the root first
	bounds map[string]int // boundary → index in stack of the innermost open multipart that has it
	part   *Part          // part whose header or body is being read; nil in a preamble or epilogue
	partLF int64          // lf at part.BodyStart
	count  int            // parts so far
	digest bool           // part is a child of a multipart/digest

	inHeader    bool
	header      header
	headerBytes int64 // of all headers so far
	sealed      bool  // a limit of the whole message was met: the current part takes the rest

	census    census
	addresses int // kept so far, of all envelopes
	work      int64
}

// frame is an open part with children.
type frame struct {
	part     *Part
	lf       int64  // p.lf at part.BodyStart
	boundary string // "" when the part has none
	shadowed int    // index of the outer multipart with the same boundary, or -1
	active   bool   // boundary is in p.bounds
	closed   bool   // closing delimiter seen
}

// NewParser returns a parser for one message; zero fields of l mean defaults.
func NewParser(l Limits) *Parser {
	p := &Parser{lim: l.orDefault(), msg: &Message{}}
	p.msg.Root = p.newPart()
	p.startHeader(&p.msg.Envelope)
	return p
}

// Parse parses a whole message with the default limits.
func Parse(b []byte) *Message {
	p := NewParser(Limits{})
	p.Write(b)
	return p.Close()
}

// Write takes the next bytes of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		block := b[:min(len(b), blockBytes)]
		b = b[len(block):]
		p.census.scan(block, p.off)
		for len(block) > 0 {
			if p.inHeader {
				block = p.readHeader(block)
			} else {
				block = p.readBody(block)
			}
		}
	}
	return n, nil
}

// Close ends the message and returns it. The parser must not be used after.
func (p *Parser) Close() *Message {
	switch {
	case p.inHeader && p.lineSize > 0:
		p.headerLine(p.line, p.lineSize, nil)
	case !p.inHeader && len(p.line) > 0:
		p.tryDelimiter(p.line)
	}
	p.line, p.lineSize = nil, 0
	p.closeParts(0, p.off, p.off, p.lf, p.lf)
	p.census.end(p.off)
	m := p.msg
	m.Size = p.off
	m.Defects = p.census.defects()
	return m
}

func (p *Parser) defect(k DefectKind, off int64) { p.census.note(k, off, 1) }

// advance consumes bytes.
func (p *Parser) advance(b []byte) {
	n := len(b)
	if n == 0 {
		return
	}
	p.off += int64(n)
	if lf := bytes.Count(b, []byte{'\n'}); lf > 0 {
		p.lf += int64(lf)
	}
	if b[n-1] == '\n' {
		before := p.last
		if n > 1 {
			before = b[n-2]
		}
		p.eol = 1
		if before == '\r' {
			p.eol = 2
		}
	}
	p.last = b[n-1]
}

// readBody consumes body bytes, preambles and epilogues, looking for nothing
// but delimiter lines, and returns what it has not consumed.
func (p *Parser) readBody(b []byte) []byte {
	if len(p.bounds) == 0 {
		p.advance(b)
		p.atStart = p.last == '\n'
		return nil
	}
	if p.atStart {
		return p.readLineStart(b)
	}
	if i := bytes.Index(b, []byte("\n--")); i >= 0 {
		p.advance(b[:i+1])
		p.atStart = true
		return b[i+1:]
	}
	// A delimiter may begin in the last two bytes.
	if n := len(b); n >= 2 && b[n-2] == '\n' && b[n-1] == '-' {
		p.advance(b[:n-1])
		p.atStart = true
		return b[n-1:]
	}
	p.advance(b)
	p.atStart = p.last == '\n'
	return nil
}

// readLineStart looks at a line from its start, which may be in p.line.
func (p *Parser) readLineStart(b []byte) []byte {
	for i := len(p.line); i < 2 && i-len(p.line) < len(b); i++ {
		if b[i-len(p.line)] != '-' {
			p.line, p.atStart = p.line[:0], false
			return b
		}
	}
	room := b[:min(len(b), maxDelimiter-len(p.line))]
	i := bytes.IndexByte(room, '\n')
	switch {
	case i >= 0:
	case len(room) < len(b) || len(room) == 0: // too long for a delimiter
		p.line, p.atStart = p.line[:0], false
		return b
	default:
		p.line = append(p.line, b...)
		p.advance(b)
		return nil
	}
	line, back := b[:i+1], len(p.line)
	if back > 0 {
		p.line = append(p.line, line...)
		line = p.line
	}
	// The delimiter closes parts before its line and may begin one after it.
	f, closing, ok := p.delimiter(line)
	if ok {
		p.endBefore(f, int64(back))
	}
	p.line = p.line[:0]
	p.advance(b[:i+1])
	if ok {
		p.beginAfter(f, closing)
	}
	return b[i+1:]
}

// tryDelimiter deals with a delimiter in the last line of the message, which
// has no end and has been consumed.
func (p *Parser) tryDelimiter(line []byte) {
	if !bytes.HasPrefix(line, []byte("--")) {
		return
	}
	if f, closing, ok := p.delimiter(line); ok {
		p.endBefore(f, int64(len(line)))
		p.beginAfter(f, closing)
	}
}

// delimiter reports which open multipart a line beginning with "--" delimits,
// and whether it closes it. Four look-ups at most, however deep the nesting.
//
// Deviation: RFC 2046 §5.1.1 would have a prefix of the line suffice, but then
// a boundary that begins another one steals its parts. Here the boundary is
// the whole line but for white space and whatever comes after white space.
func (p *Parser) delimiter(line []byte) (index int, closing, ok bool) {
	t := trimRight(line[2:])
	if index, closing, ok = p.lookUp(t); ok {
		return index, closing, ok
	}
	if i := bytes.IndexAny(t, " \t"); i > 0 {
		return p.lookUp(t[:i])
	}
	return 0, false, false
}

func (p *Parser) lookUp(t []byte) (index int, closing, ok bool) {
	p.work++
	if f, ok := p.bounds[string(t)]; ok {
		return f, false, true
	}
	if n := len(t) - 2; n >= 0 && t[n] == '-' && t[n+1] == '-' {
		p.work++
		if f, ok := p.bounds[string(t[:n])]; ok {
			return f, true, true
		}
	}
	return 0, false, false
}

func trimRight(b []byte) []byte {
	for len(b) > 0 {
		switch b[len(b)-1] {
		case ' ', '\t', '\r', '\n':
			b = b[:len(b)-1]
		default:
			return b
		}
	}
	return b
}

// endBefore closes all parts within frame f at a delimiter line that began
// back bytes before p.off.
func (p *Parser) endBefore(f int, back int64) {
	start := p.off - back
	end, endLF := start-p.eol, p.lf
	if p.eol > 0 {
		endLF--
	}
	p.closeParts(f+1, end, start, endLF, p.lf)
}

// beginAfter begins what follows the delimiter line just consumed.
func (p *Parser) beginAfter(f int, closing bool) {
	p.atStart = true
	if closing {
		p.deactivate(&p.stack[f])
		p.stack[f].closed = true
		return
	}
	parent := p.stack[f].part
	p.part = p.newPart()
	parent.Children = append(parent.Children, p.part)
	p.partLF, p.digest = p.lf, parent.Subtype == "digest"
	if !p.sealIfFull() {
		p.startHeader(nil)
	}
}

// newPart makes a part that begins here.
func (p *Parser) newPart() *Part {
	p.count++
	p.part = &Part{HeaderStart: p.off, BodyStart: p.off, End: p.off}
	return p.part
}

// sealIfFull makes the new part the last one if there are too many.
func (p *Parser) sealIfFull() bool {
	if p.count <= p.lim.Parts {
		return false
	}
	p.defect(PartsLimit, p.off)
	makeOpaque(p.part)
	p.seal()
	return true
}

// seal lets the current part take the rest of the message.
func (p *Parser) seal() {
	p.inHeader = false
	p.dropBoundaries()
}

// dropBoundaries makes the parser blind for delimiters from here on.
func (p *Parser) dropBoundaries() {
	p.sealed, p.bounds = true, nil
	for i := range p.stack {
		p.stack[i].active = false
	}
}

func makeOpaque(part *Part) {
	part.Type, part.Subtype, part.Params = "application", "octet-stream", nil
}

// push opens the current part.
func (p *Parser) push(boundary string) {
	f := frame{part: p.part, lf: p.partLF, boundary: boundary, shadowed: -1}
	if boundary != "" {
		if outer, ok := p.bounds[boundary]; ok {
			f.shadowed = outer
		}
		if p.bounds == nil {
			p.bounds = make(map[string]int, 4)
		}
		p.bounds[boundary] = len(p.stack)
		f.active = true
	}
	p.stack = append(p.stack, f)
	p.part = nil
}

// deactivate takes the boundary of the innermost frame out of use.
func (p *Parser) deactivate(f *frame) {
	if !f.active {
		return
	}
	f.active = false
	if f.shadowed >= 0 {
		p.bounds[f.boundary] = f.shadowed
	} else {
		delete(p.bounds, f.boundary)
	}
}

// closeParts ends the current part and the frames from depth on. Bodies end at
// end, where endLF line ends lie before; those that begin or hold something
// after it end at start, with startLF before.
func (p *Parser) closeParts(depth int, end, start, endLF, startLF int64) {
	for p.inHeader { // an embedded message begins another header
		p.endHeader(start, startLF, false)
	}
	if p.part != nil {
		setEnd(p.part, p.partLF, end, start, endLF, startLF)
		p.part = nil
	}
	for len(p.stack) > depth {
		p.work++
		f := &p.stack[len(p.stack)-1]
		setEnd(f.part, f.lf, end, start, endLF, startLF)
		if f.part.Multipart() {
			p.closeMultipart(f)
		}
		p.deactivate(f)
		p.stack = p.stack[:len(p.stack)-1]
	}
}

func setEnd(part *Part, bodyLF, end, start, endLF, startLF int64) {
	low := part.BodyStart
	if n := len(part.Children); n > 0 {
		low = max(low, part.Children[n-1].End)
	}
	if low > end {
		end, endLF = start, startLF
	}
	part.End, part.Lines = end, endLF-bodyLF
}

// closeMultipart sees to it that a multipart has a child.
func (p *Parser) closeMultipart(f *frame) {
	m := f.part
	if f.boundary != "" && !f.closed && !p.sealed {
		p.defect(MissingEnd, m.End)
	}
	if len(m.Children) > 0 {
		return
	}
	if f.boundary != "" {
		p.defect(MissingDelimiter, m.BodyStart)
	}
	p.count++
	m.Children = []*Part{{
		HeaderStart: m.BodyStart, BodyStart: m.BodyStart, End: m.End, Lines: m.Lines,
		Type: "text", Subtype: "plain", Encoding: m.Encoding,
	}}
}

// open decides what the part whose header has just ended is, and opens it if
// it has children.
func (p *Parser) open() {
	part := p.part
	p.inHeader, p.atStart = false, true
	container := part.Multipart() || part.Type == "message" && (part.Subtype == "rfc822" || part.Subtype == "global")
	switch {
	case p.header.over:
		if container {
			makeOpaque(part)
		}
		p.seal()
	case !container:
	case len(p.stack) >= p.lim.Depth:
		p.defect(DepthLimit, part.HeaderStart)
		makeOpaque(part)
	case part.Multipart():
		p.openMultipart(part)
	case !identityEncoding(part.Encoding):
		p.defect(EncodedMessage, part.HeaderStart)
		makeOpaque(part)
	default:
		p.openMessage(part)
	}
}

func (p *Parser) openMultipart(part *Part) {
	if !identityEncoding(part.Encoding) {
		p.defect(EncodedMultipart, part.HeaderStart)
	}
	boundary := part.Boundary()
	if boundary == "" {
		p.defect(MissingBoundary, part.HeaderStart)
	}
	p.push(boundary)
}

func (p *Parser) openMessage(part *Part) {
	part.Envelope = &Envelope{}
	p.push("")
	root := p.newPart()
	root.HeaderStart, root.BodyStart = part.BodyStart, part.BodyStart
	part.Children = []*Part{root}
	p.digest = false
	if !p.sealIfFull() {
		p.startHeader(part.Envelope)
	}
}

// Boundary returns the boundary of a multipart, "" when it has none that can
// be used.
func (p *Part) Boundary() string {
	b := string(trimRight([]byte(DecodeParam(p.Params, "boundary"))))
	if len(b) > maxBoundary {
		return ""
	}
	return b
}

// identityEncoding reports whether a body is as it is transferred. Unknown
// encodings count as such: the bytes are all there is.
func identityEncoding(e string) bool { return e != "base64" && e != "quoted-printable" }
