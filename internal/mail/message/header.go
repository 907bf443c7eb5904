package message

import (
	"bytes"
	"unicode/utf8"
)

// header is the state of the header being read.
type header struct {
	id       fieldID // of the field being read, fieldNone if nobody wants it
	value    []byte  // that field after the colon, still folded
	at       int64   // its offset
	seen     uint32  // fields read, by 1<<fieldID
	env      *Envelope
	boundary string // of a multipart whose Content-Type was read
	over     bool   // HeaderBytes met: nothing more is read

	// A run of malformed lines that no field has followed yet: should the
	// header end so, the body began at the first of them.
	junk   int64 // how many lines
	junkAt int64
	junkLF int64
}

// startHeader begins the header of p.part; env is what it fills, nil when the
// part is not the root of a message.
func (p *Parser) startHeader(env *Envelope) {
	p.inHeader, p.atStart = true, false
	p.line, p.lineSize = p.line[:0], 0
	p.header = header{value: p.header.value[:0], env: env}
}

// readHeader consumes bytes up to the end of a line and returns the rest. Of a
// line beyond the header limit only the start is kept.
func (p *Parser) readHeader(b []byte) []byte {
	chunk := b
	i := bytes.IndexByte(b, '\n')
	if i >= 0 {
		chunk = b[:i+1]
	}
	// Three bytes are enough to tell a blank line from others.
	room := max(p.lim.HeaderBytes-p.headerBytes, 3) - int64(len(p.line))
	kept := chunk[:max(min(int64(len(chunk)), room), 0)]
	if i < 0 {
		p.line = append(p.line, kept...)
		p.lineSize += int64(len(chunk))
		p.advance(chunk)
		return nil
	}
	line, back := kept, p.lineSize
	if back > 0 {
		p.line = append(p.line, kept...)
		line = p.line
	}
	p.lineSize = 0
	p.headerLine(line, back, chunk)
	p.line = p.line[:0]
	return b[i+1:]
}

// headerLine deals with one line of a header that began back bytes ago and
// ends with chunk, which is yet to be consumed.
func (p *Parser) headerLine(line []byte, back int64, chunk []byte) {
	h := &p.header
	start, size := p.off-back, back+int64(len(chunk))
	if blankLine(line) && size == int64(len(line)) {
		p.advance(chunk)
		p.endHeader(p.off, p.lf, true)
		return
	}
	if h.over {
		p.advance(chunk)
		return
	}
	if bytes.HasPrefix(line, []byte("--")) && size <= maxDelimiter && p.headerDelimiter(line, back, chunk) {
		return
	}
	switch name := fieldName(line); {
	case folded(line) && start > p.part.HeaderStart:
		if h.id != fieldNone {
			h.value = append(h.value, line...)
		}
		p.checkText(line, start)
	case name != nil:
		p.startField(name, line, start)
	default:
		p.flushField()
		if h.junk == 0 {
			h.junkAt, h.junkLF = start, p.lf
		}
		h.junk++
	}
	if p.headerBytes += size; p.headerBytes > p.lim.HeaderBytes {
		p.defect(HeaderLimit, start)
		h.over = true
		p.dropBoundaries()
	}
	p.advance(chunk)
}

// headerDelimiter deals with a line that may be a delimiter in the middle of a
// header: of an open multipart, or of the very part whose header this is.
func (p *Parser) headerDelimiter(line []byte, back int64, chunk []byte) bool {
	if len(p.bounds) == 0 && p.header.id != fieldContentType && p.header.boundary == "" {
		return false
	}
	f, closing, ok := p.delimiter(line)
	if !ok {
		p.flushField()
		if !p.isOwnDelimiter(line) {
			return false
		}
		p.endHeader(p.off-back, p.lf, false)
		f, closing, ok = p.delimiter(line)
	}
	if ok {
		p.endBefore(f, back)
	}
	p.advance(chunk)
	if ok {
		p.beginAfter(f, closing)
	}
	return true
}

// isOwnDelimiter reports whether the line is the first delimiter of the
// multipart whose header is being read.
func (p *Parser) isOwnDelimiter(line []byte) bool {
	b := p.header.boundary
	return b != "" && string(trimRight(line[2:])) == b
}

func (p *Parser) checkText(line []byte, start int64) {
	if !utf8.Valid(line) {
		p.defect(EightBitHeader, start)
	}
}

// startField begins a field. The first of a name counts; To, Cc and Bcc may be
// repeated (RFC 5322 §4.5.3).
func (p *Parser) startField(name, line []byte, start int64) {
	p.flushField()
	h := &p.header
	if h.junk > 0 {
		p.census.note(MalformedField, h.junkAt, h.junk)
		h.junk = 0
	}
	p.checkText(line, start)
	id := identify(name)
	switch {
	case id == fieldNone, id >= fieldDate && h.env == nil:
		return
	case h.seen&(1<<id) != 0 && id < fieldTo:
		return
	}
	h.seen |= 1 << id
	h.id, h.at = id, start
	h.value = append(h.value[:0], line[bytes.IndexByte(line, ':')+1:]...)
}

// flushField ends the field being read.
func (p *Parser) flushField() {
	h := &p.header
	id := h.id
	if id == fieldNone {
		return
	}
	h.id = fieldNone
	if id >= fieldDate {
		p.setEnvelope(id, h.env, h.value)
	} else {
		p.setPart(id, p.part, h.value)
	}
}

func (p *Parser) setPart(id fieldID, part *Part, raw []byte) {
	value, whole := unfold(raw), true
	switch id {
	case fieldContentType:
		var ok bool
		part.Type, part.Subtype, part.Params, ok, whole = parseContentType(value)
		if !ok {
			p.defect(BadContentType, p.header.at)
		}
		if part.Multipart() {
			p.header.boundary = part.Boundary()
		}
	case fieldEncoding:
		part.Encoding = parseEncoding(value)
	case fieldContentID:
		part.ID = value
	case fieldDescription:
		part.Description = value
	case fieldDisposition:
		part.Disposition, part.DispositionParams, whole = parseDisposition(value)
	case fieldMD5:
		part.MD5 = value
	case fieldLanguage:
		part.Language = parseLanguages(value)
	case fieldLocation:
		part.Location = value
	}
	if !whole {
		p.defect(ParamLimit, p.header.at)
	}
}

func (p *Parser) setEnvelope(id fieldID, e *Envelope, raw []byte) {
	value := unfold(raw)
	var list *[]EnvelopeAddress
	switch id {
	case fieldDate:
		e.Date = value
	case fieldSubject:
		e.Subject = value
	case fieldInReplyTo:
		e.InReplyTo = value
	case fieldMessageID:
		e.MessageID = value
	case fieldFrom:
		list = &e.From
	case fieldSender:
		list = &e.Sender
	case fieldReplyTo:
		list = &e.ReplyTo
	case fieldTo:
		list = &e.To
	case fieldCc:
		list = &e.Cc
	case fieldBcc:
		list = &e.Bcc
	}
	if list == nil {
		return
	}
	before := len(*list)
	var whole bool
	*list, whole = appendAddresses(*list, value, maxAddresses-p.addresses)
	p.addresses += len(*list) - before
	if !whole {
		p.defect(AddressLimit, p.header.at)
	}
}

// endHeader ends the header: the body begins at bodyStart, bodyLF line ends
// into the message.
func (p *Parser) endHeader(bodyStart, bodyLF int64, blank bool) {
	p.flushField()
	h, part := &p.header, p.part
	if h.junk > 0 && !h.over {
		bodyStart, bodyLF, blank = h.junkAt, h.junkLF, false
	}
	if !blank && bodyStart > part.HeaderStart || h.junk > 0 {
		p.defect(MissingBlankLine, bodyStart)
	}
	part.BodyStart, p.partLF = bodyStart, bodyLF
	if part.Type == "" {
		part.Type, part.Subtype = "text", "plain"
		if p.digest {
			part.Type, part.Subtype = "message", "rfc822"
		}
	}
	if e := h.env; e != nil {
		e.OwnSender, e.OwnReplyTo = len(e.Sender) > 0, len(e.ReplyTo) > 0
		if !e.OwnSender {
			e.Sender = e.From
		}
		if !e.OwnReplyTo {
			e.ReplyTo = e.From
		}
	}
	p.open()
}
