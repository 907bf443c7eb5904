package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The binary form of a Message, version 1. Numbers are unsigned varints.
//
//	message  = version size defects envelope part
//	defects  = n n*(kind offset count)
//	envelope = flags date subject inReplyTo messageID from [sender] [replyTo] to cc bcc
//	list     = n n*(name route mailbox host)
//	part     = flags gap header body lines [type subtype] [params] …
//	string   = 0 | 1+2·i (a word known to both sides) | 2+2·n bytes
//
// A part's gap counts from the end of the part before it, or for a first child
// from its parent's BodyStart; header and body are lengths. The words known to
// both sides are those of codecWords and then the strings of the message
// itself in order of their first appearance, if they have minWord bytes or
// more, up to maxWords: hosts and names come back again and again.
//
// What is in the index stays there for years: a change that is not just a new
// flag of a part needs a new version, and the old one stays readable.
const codecVersion = 1

// ErrFormat is wrapped by DecodeMessage's errors.
var ErrFormat = errors.New("malformed message summary")

const (
	minWord  = 4  // shorter strings cost as much to look up as to write
	maxWords = 64 // own words: bounds the encoder's search
)

// codecWords are part of the format: append only with a new version.
var codecWords = [...]string{
	"text", "plain", "html", "multipart", "mixed", "alternative", "related", "report",
	"application", "octet-stream", "pdf", "image", "jpeg", "png", "message", "rfc822",
	"charset", "utf-8", "UTF-8", "us-ascii", "iso-8859-1", "format", "flowed", "boundary",
	"name", "filename", "7bit", "8bit", "base64", "quoted-printable", "attachment", "inline",
}

// Flags of a part: which fields follow.
const (
	partTyped       = 1 << iota // else text/plain
	partParams                  // Params
	partDisposition             // Disposition and its parameters
	partEncoding
	partID
	partDescription
	partMD5
	partLocation
	partLanguage
	partEnvelope // then an embedded message
	partChildren
)

// Flags of an envelope.
const (
	envOwnSender = 1 << iota
	envOwnReplyTo
)

// AppendBinary appends the compact form of m that DecodeMessage reads. A mail
// with one part takes some 300 bytes, most of them the ENVELOPE's.
func (m *Message) AppendBinary(dst []byte) []byte {
	e := encoder{b: append(dst, codecVersion)}
	e.uint(uint64(m.Size))
	e.uint(uint64(len(m.Defects)))
	for _, d := range m.Defects {
		e.uint(uint64(d.Kind))
		e.uint(uint64(d.Offset))
		e.uint(uint64(d.Count))
	}
	e.envelope(&m.Envelope)
	e.part(m.Root, 0)
	return e.b
}

type encoder struct {
	b     []byte
	words [maxWords]string
	n     int
}

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

func (e *encoder) string(s string) {
	if s == "" {
		e.b = append(e.b, 0)
		return
	}
	if len(s) >= minWord || len(s) == 3 {
		if i := e.find(s); i >= 0 {
			e.uint(1 + 2*uint64(i))
			return
		}
	}
	if len(s) >= minWord && e.n < maxWords {
		e.words[e.n] = s
		e.n++
	}
	e.uint(2 + 2*uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) find(s string) int {
	const longest = len("quoted-printable")
	if len(s) <= longest {
		for i, w := range codecWords {
			if w == s {
				return i
			}
		}
	}
	for i, w := range e.words[:e.n] {
		if w == s {
			return len(codecWords) + i
		}
	}
	return -1
}

func (e *encoder) envelope(v *Envelope) {
	var flags uint64
	if v.OwnSender {
		flags |= envOwnSender
	}
	if v.OwnReplyTo {
		flags |= envOwnReplyTo
	}
	e.uint(flags)
	e.string(v.Date)
	e.string(v.Subject)
	e.string(v.InReplyTo)
	e.string(v.MessageID)
	e.addresses(v.From)
	if v.OwnSender {
		e.addresses(v.Sender)
	}
	if v.OwnReplyTo {
		e.addresses(v.ReplyTo)
	}
	e.addresses(v.To)
	e.addresses(v.Cc)
	e.addresses(v.Bcc)
}

func (e *encoder) addresses(list []EnvelopeAddress) {
	e.uint(uint64(len(list)))
	for _, a := range list {
		e.string(a.Name)
		e.string(a.Route)
		e.string(a.Mailbox)
		e.string(a.Host)
	}
}

func (e *encoder) params(list []Param) {
	e.uint(uint64(len(list)))
	for _, p := range list {
		e.string(p.Name)
		e.string(p.Value)
	}
}

func flagIf(on bool, flag uint64) uint64 {
	if on {
		return flag
	}
	return 0
}

// part writes p, from being the offset its gap counts from.
func (e *encoder) part(p *Part, from int64) {
	typed := p.Type != "text" || p.Subtype != "plain"
	disposed := p.Disposition != "" || len(p.DispositionParams) > 0
	e.uint(flagIf(typed, partTyped) | flagIf(len(p.Params) > 0, partParams) |
		flagIf(disposed, partDisposition) | flagIf(p.Encoding != "", partEncoding) |
		flagIf(p.ID != "", partID) | flagIf(p.Description != "", partDescription) |
		flagIf(p.MD5 != "", partMD5) | flagIf(p.Location != "", partLocation) |
		flagIf(len(p.Language) > 0, partLanguage) | flagIf(p.Envelope != nil, partEnvelope) |
		flagIf(len(p.Children) > 0, partChildren))
	e.uint(uint64(p.HeaderStart - from))
	e.uint(uint64(p.BodyStart - p.HeaderStart))
	e.uint(uint64(p.End - p.BodyStart))
	e.uint(uint64(p.Lines))
	if typed {
		e.string(p.Type)
		e.string(p.Subtype)
	}
	if len(p.Params) > 0 {
		e.params(p.Params)
	}
	if disposed {
		e.string(p.Disposition)
		e.params(p.DispositionParams)
	}
	for _, s := range []string{p.Encoding, p.ID, p.Description, p.MD5, p.Location} {
		if s != "" {
			e.string(s)
		}
	}
	if len(p.Language) > 0 {
		e.uint(uint64(len(p.Language)))
		for _, s := range p.Language {
			e.string(s)
		}
	}
	if p.Envelope != nil {
		e.envelope(p.Envelope)
	}
	if len(p.Children) > 0 {
		e.uint(uint64(len(p.Children)))
		from = p.BodyStart
		for _, c := range p.Children {
			e.part(c, from)
			from = c.End
		}
	}
}

// maxDecodeDepth bounds the depth that DecodeMessage follows: what maxDepth
// lets the parser make.
const maxDecodeDepth = maxDepth + 2

// DecodeMessage reads what AppendBinary wrote; the strings share one copy of
// b. It checks whatever Part and Envelope promise about offsets and children,
// so that damage gives an error that wraps ErrFormat and never a wrong tree,
// and it takes memory proportional to len(b) whatever b says.
func DecodeMessage(b []byte) (*Message, error) {
	if len(b) == 0 || b[0] != codecVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrFormat)
	}
	// One allocation for what nearly every message has.
	var whole struct {
		message   Message
		root      Part
		addresses [4]EnvelopeAddress
	}
	d := decoderState{s: string(b[1:]), spare: whole.addresses[:]}
	m := &whole.message
	m.Size = d.offset()
	m.Defects = d.defects(m.Size)
	d.envelope(&m.Envelope)
	m.Root = d.part(&whole.root, 0, m.Size, maxDecodeDepth)
	if d.err == nil && d.s != "" {
		d.fail("bytes left over")
	}
	if d.err == nil && (m.Root.HeaderStart != 0 || m.Root.End != m.Size) {
		d.fail("root is not the whole message")
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}
