package message

import (
	"fmt"
	"math"
)

// decoderState reads the binary form. After the first error every read gives
// zero values.
type decoderState struct {
	s     string // the rest
	err   error
	words [maxWords]string
	n     int
	spare []EnvelopeAddress // not yet used
}

func (d *decoderState) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrFormat, what)
	}
	d.s = ""
}

func (d *decoderState) uint() uint64 {
	if len(d.s) > 0 && d.s[0] < 0x80 { // nearly all
		v := uint64(d.s[0])
		d.s = d.s[1:]
		return v
	}
	return d.longUint()
}

func (d *decoderState) longUint() uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < 10; i++ {
		c := d.s[i]
		if i == 9 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return v
		}
	}
	d.fail("number")
	return 0
}

// offset reads a number that fits an offset.
func (d *decoderState) offset() int64 {
	v := d.uint()
	if v > math.MaxInt64 {
		d.fail("offset")
		return 0
	}
	return int64(v)
}

// count reads the length of a list whose elements take at least size bytes
// each, so that nothing is allocated that the input cannot fill.
func (d *decoderState) count(size int) int {
	v := d.uint()
	if v > uint64(len(d.s)/size) {
		d.fail("count")
		return 0
	}
	return int(v)
}

func (d *decoderState) string() string {
	v := d.uint()
	switch {
	case v == 0:
		return ""
	case v&1 == 1:
		i := v / 2
		if i < uint64(len(codecWords)) {
			return codecWords[i]
		}
		if i -= uint64(len(codecWords)); i < uint64(d.n) {
			return d.words[i]
		}
		d.fail("word")
		return ""
	}
	n := v/2 - 1
	if n == 0 || n > uint64(len(d.s)) {
		d.fail("string")
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	if n >= minWord && d.n < maxWords {
		d.words[d.n] = s
		d.n++
	}
	return s
}

func (d *decoderState) defects(size int64) []Defect {
	n := d.count(3)
	if n == 0 {
		return nil
	}
	list := make([]Defect, n)
	for i := range list {
		list[i] = d.defect(size)
	}
	return list
}

// skipDefects checks the defects and keeps none.
func (d *decoderState) skipDefects(size int64) {
	for n := d.count(3); n > 0 && d.err == nil; n-- {
		d.defect(size)
	}
}

func (d *decoderState) defect(size int64) Defect {
	kind := d.uint()
	v := Defect{Kind: DefectKind(kind), Offset: d.offset(), Count: d.offset()}
	if kind == 0 || kind > math.MaxUint8 || v.Offset > size || v.Count == 0 {
		d.fail("defect")
	}
	return v
}

func (d *decoderState) envelope(v *Envelope) {
	flags := d.texts(v)
	v.OwnSender, v.OwnReplyTo = flags&envOwnSender != 0, flags&envOwnReplyTo != 0
	v.From = d.addresses()
	v.Sender, v.ReplyTo = v.From, v.From
	if v.OwnSender {
		v.Sender = d.addresses()
	}
	if v.OwnReplyTo {
		v.ReplyTo = d.addresses()
	}
	v.To, v.Cc, v.Bcc = d.addresses(), d.addresses(), d.addresses()
}

// texts reads what stands before an envelope's addresses, and gives its flags.
func (d *decoderState) texts(v *Envelope) uint64 {
	flags := d.uint()
	if flags > envOwnSender|envOwnReplyTo {
		d.fail("envelope flags")
	}
	v.Date, v.Subject, v.InReplyTo, v.MessageID = d.string(), d.string(), d.string(), d.string()
	return flags
}

func (d *decoderState) addresses() []EnvelopeAddress {
	n := d.count(4)
	if n == 0 {
		return nil
	}
	var list []EnvelopeAddress
	if n <= len(d.spare) {
		list, d.spare = d.spare[:n:n], d.spare[n:]
	} else {
		list = make([]EnvelopeAddress, n)
	}
	for i := range list {
		list[i] = EnvelopeAddress{Name: d.string(), Route: d.string(), Mailbox: d.string(), Host: d.string()}
	}
	return list
}

func (d *decoderState) params() []Param {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	list := make([]Param, n)
	for i := range list {
		list[i] = Param{Name: d.string(), Value: d.string()}
	}
	return list
}

// part reads a part that lies in [from, to) into p.
func (d *decoderState) part(p *Part, from, to int64, depth int) *Part {
	flags := d.uint()
	if flags >= partChildren<<1 || depth == 0 {
		d.fail("part")
	}
	p.Type, p.Subtype = "text", "plain"
	p.HeaderStart = d.after(from, to)
	p.BodyStart = d.after(p.HeaderStart, to)
	p.End = d.after(p.BodyStart, to)
	p.Lines = d.offset()
	if p.Lines > p.Size() {
		d.fail("lines")
	}
	d.partFields(p, flags)
	d.partChildren(p, flags, depth)
	return p
}

// after reads a length and adds it to from; the sum must not exceed to.
func (d *decoderState) after(from, to int64) int64 {
	v := d.offset()
	if v > to-from {
		d.fail("offset beyond the parent")
		return from
	}
	return from + v
}

func (d *decoderState) partFields(p *Part, flags uint64) {
	if flags&partTyped != 0 {
		p.Type, p.Subtype = d.string(), d.string()
		if p.Type == "" || p.Subtype == "" {
			d.fail("type")
		}
	}
	if flags&partParams != 0 {
		p.Params = d.params()
	}
	if flags&partDisposition != 0 {
		p.Disposition, p.DispositionParams = d.string(), d.params()
	}
	for _, f := range []struct {
		flag uint64
		s    *string
	}{
		{partEncoding, &p.Encoding}, {partID, &p.ID}, {partDescription, &p.Description},
		{partMD5, &p.MD5}, {partLocation, &p.Location},
	} {
		if flags&f.flag != 0 {
			*f.s = d.string()
		}
	}
	if flags&partLanguage != 0 {
		if n := d.count(1); n > 0 {
			p.Language = make([]string, n)
			for i := range p.Language {
				p.Language[i] = d.string()
			}
		}
	}
}

func (d *decoderState) partChildren(p *Part, flags uint64, depth int) {
	if flags&partEnvelope != 0 {
		p.Envelope = &Envelope{}
		d.envelope(p.Envelope)
	}
	n := 0
	if flags&partChildren != 0 {
		n = d.count(5)
	}
	switch {
	case d.err != nil:
		return
	case p.Multipart() && (n == 0 || p.Envelope != nil),
		p.Envelope != nil && n != 1,
		!p.Multipart() && p.Envelope == nil && n != 0:
		d.fail("children")
		return
	case n == 0:
		return
	}
	p.Children = make([]*Part, n)
	from := p.BodyStart
	for i := range p.Children {
		p.Children[i] = d.part(&Part{}, from, p.End, depth-1)
		from = p.Children[i].End
	}
}
