package imap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	// headerMax bounds the header that HEADER.FIELDS looks at: as much as the
	// parser does.
	headerMax = 1 << 20
	// pieceMax is how much of a body is read at a time: the size in which
	// large bodies are verified.
	pieceMax = 64 << 10
)

// content is what a body item sends.
type content struct {
	exists bool   // false: NIL
	data   []byte // the octets themselves, or:
	// off and size are a range of the stored message; decode, if set, a part
	// whose decoded octets from off on are meant.
	off, size int64
	decode    *message.Part
	nul       bool // the octets hold NUL, or may: literal8
	number    bool // size itself is the value
}

// writeBodies writes a row with bodies. Nothing of it is written before it is
// certain that all of it can be: the octets are verified first.
func (f *fetcher) writeBodies(row *fetchRow, body *journal.Body) error {
	f.contents, f.header = f.contents[:0], f.header[:0]
	for i := range f.items {
		c, err := f.content(body, row, f.items[i].FetchItem)
		if err != nil {
			return err
		}
		f.contents = append(f.contents, c)
	}
	if err := f.verify(body); err != nil {
		return err
	}
	link := &f.s.link
	b := link.buf()
	streamed := false // part of the row is on its way
	b = f.beginRow(b, row)
	for i := range f.items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, f.items[i].label...)
		if !isBody(f.items[i].Kind) {
			b = f.appendItem(b, row, f.items[i].Kind)
			continue
		}
		written, err := f.appendContent(&b, body, &f.contents[i])
		streamed = streamed || written
		switch {
		case err != nil && streamed:
			link.err = fmt.Errorf("message broke off: %w", err) // there is no way back
			return link.err
		case err != nil:
			return err // b was not put: the row is not there
		}
	}
	return link.put(f.endRow(b, row))
}

func isBody(k command.FetchKind) bool { return k >= command.FetchSection }

// content finds out what an item sends.
func (f *fetcher) content(body *journal.Body, row *fetchRow, it command.FetchItem) (content, error) {
	var c content
	switch it.Kind {
	case command.FetchRFC822:
		return content{exists: true, size: body.Size()}, nil
	case command.FetchRFC822Header:
		root := row.summary.Root
		return content{exists: true, off: root.HeaderStart, size: root.BodyStart - root.HeaderStart}, nil
	case command.FetchRFC822Text:
		root := row.summary.Root
		return content{exists: true, off: root.BodyStart, size: root.End - root.BodyStart}, nil
	case command.FetchSection:
		var err error
		if c, err = f.section(body, row, it.Section); err != nil {
			return c, err
		}
	case command.FetchBinary, command.FetchBinarySize:
		var err error
		if c, err = f.binary(body, row, it); err != nil {
			return c, err
		}
	default:
		return c, nil
	}
	if it.Partial && c.exists {
		c.cut(it.Offset, it.Count)
	}
	return c, nil
}

// cut narrows c to a partial range (RFC 9051 §6.4.5.1); beyond the end it is
// empty.
func (c *content) cut(offset, count uint64) {
	skip := int64(min(offset, uint64(c.size)))
	n := int64(min(count, uint64(c.size-skip)))
	if c.data != nil {
		c.data = c.data[skip : skip+n]
	}
	c.off += skip
	c.size = n
}

// section finds a BODY[…] section.
func (f *fetcher) section(body *journal.Body, row *fetchRow, sec command.Section) (content, error) {
	if len(sec.Part) == 0 && sec.Text == command.TextAll {
		return content{exists: true, size: body.Size()}, nil
	}
	p := row.summary.Root
	inner := p // whose header and text are meant
	if len(sec.Part) > 0 {
		if p = partAt(p, sec.Part); p == nil {
			return content{}, nil
		}
		if inner = nil; p.Message() {
			inner = p.Children[0]
		}
	}
	switch sec.Text {
	case command.TextAll:
		return content{exists: true, off: p.BodyStart, size: p.End - p.BodyStart}, nil
	case command.TextMIME:
		return content{exists: true, off: p.HeaderStart, size: p.BodyStart - p.HeaderStart}, nil
	}
	if inner == nil {
		// RFC 9051 §6.4.5.1: only an embedded message has a header and a text.
		return content{}, nil
	}
	switch sec.Text {
	case command.TextHeader:
		return content{exists: true, off: inner.HeaderStart, size: inner.BodyStart - inner.HeaderStart}, nil
	case command.TextText:
		return content{exists: true, off: inner.BodyStart, size: inner.End - inner.BodyStart}, nil
	}
	return f.headerFields(body, inner, sec)
}

// partAt finds a part by its numbers (RFC 9051 §6.4.5.1), nil if there is none.
func partAt(root *message.Part, numbers []uint32) *message.Part {
	at := root
	entered := true // at is a message's root, which has no number of its own
	for _, n := range numbers {
		if !entered {
			if !at.Message() {
				if !at.Multipart() {
					return nil
				}
			} else {
				at = at.Children[0]
				entered = true
			}
		}
		switch {
		case at.Multipart():
			if int64(n) > int64(len(at.Children)) {
				return nil
			}
			at = at.Children[n-1]
		case entered && n == 1:
			// The one part of a message that is no multipart.
		default:
			return nil
		}
		entered = false
	}
	return at
}

// headerFields collects the fields of a header that are asked for, or the
// others, and the blank line.
func (f *fetcher) headerFields(body *journal.Body, p *message.Part, sec command.Section) (content, error) {
	n := min(p.BodyStart-p.HeaderStart, headerMax)
	raw := make([]byte, n)
	if err := readFull(body, raw, p.HeaderStart); err != nil {
		return content{}, err
	}
	start := len(f.header)
	for field := range message.Fields(raw) {
		asked := slices.ContainsFunc(sec.Fields, field.Is)
		if asked == (sec.Text == command.TextHeaderFields) {
			f.header = append(f.header, field.Raw...)
		}
	}
	f.header = append(f.header, '\r', '\n')
	data := f.header[start:len(f.header):len(f.header)]
	return content{exists: true, data: data, size: int64(len(data))}, nil
}

// readFull reads all of p at off.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) || err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read message: %w", err)
}

// binary finds a BINARY[…] or BINARY.SIZE[…] (RFC 9051 §6.4.5, RFC 3516): the
// decoded octets are counted before they are sent.
func (f *fetcher) binary(body *journal.Body, row *fetchRow, it command.FetchItem) (content, error) {
	number := it.Kind == command.FetchBinarySize
	if len(it.Section.Part) == 0 {
		return content{exists: true, size: body.Size(), number: number, nul: true}, nil
	}
	p := partAt(row.summary.Root, it.Section.Part)
	if p == nil {
		return content{exists: number, number: number}, nil
	}
	if p.Multipart() || p.Message() {
		return content{exists: true, off: p.BodyStart, size: p.End - p.BodyStart, number: number, nul: true}, nil
	}
	switch p.Encoding {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable":
	default:
		return content{}, errUnknownEncoding
	}
	c := content{exists: true, decode: p, number: number}
	buf := f.s.srv.pools.read.Get().(*[readBuffer]byte)
	defer f.s.srv.pools.read.Put(buf)
	for r := p.Decode(body); ; {
		n, err := r.Read(buf[:])
		c.nul = c.nul || slices.Contains(buf[:n], 0)
		c.size += int64(n)
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("decode part: %w", err)
		}
	}
}

// verify reads through what is to be sent in pieces, so that damage is found
// before the first of them is on its way.
func (f *fetcher) verify(body *journal.Body) error {
	var total int64
	for i := range f.contents {
		total += f.contents[i].size
	}
	if total < flushAt {
		return nil // goes out as a whole, or not at all
	}
	buf := f.s.srv.pools.read.Get().(*[readBuffer]byte)
	defer f.s.srv.pools.read.Put(buf)
	for i := range f.contents {
		c := &f.contents[i]
		if !c.exists || c.number || c.data != nil || c.decode != nil {
			continue
		}
		// One octet of each piece is enough: pieces are verified as a whole.
		for off := c.off; off < c.off+c.size; off += pieceMax {
			if err := readFull(body, buf[:1], off); err != nil {
				return err
			}
		}
		if c.size > 0 {
			if err := readFull(body, buf[:1], c.off+c.size-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendContent appends a content to *b, which is the link's buffer, and
// writes it out in between if it is long; written says whether it did.
func (f *fetcher) appendContent(b *[]byte, body *journal.Body, c *content) (written bool, err error) {
	switch {
	case c.number:
		*b = strconv.AppendInt(*b, c.size, 10)
		return false, nil
	case !c.exists:
		*b = append(*b, "NIL"...)
		return false, nil
	case c.size == 0:
		*b = append(*b, `""`...)
		return false, nil
	}
	if c.nul {
		*b = append(*b, '~')
	}
	*b = append(*b, '{')
	*b = strconv.AppendInt(*b, c.size, 10)
	*b = append(*b, "}\r\n"...)
	if c.data != nil {
		*b = append(*b, c.data...)
		return false, nil
	}
	if c.decode != nil {
		return f.copyDecoded(b, body, c)
	}
	return f.copyRange(b, body, c)
}

// copyRange copies a range of the stored message.
func (f *fetcher) copyRange(b *[]byte, body *journal.Body, c *content) (written bool, err error) {
	for off, left := c.off, c.size; left > 0; {
		n := int(min(left, pieceMax))
		*b = slices.Grow(*b, n)
		at := len(*b)
		if err := readFull(body, (*b)[at:at+n], off); err != nil {
			return written, err
		}
		*b = (*b)[:at+n]
		off += int64(n)
		left -= int64(n)
		if left > 0 {
			written = true
			if err := f.piece(b); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// piece writes out what is in *b.
func (f *fetcher) piece(b *[]byte) error {
	f.s.link.out = *b
	if err := f.s.link.flush(); err != nil {
		return err
	}
	if f.s.wake.stopping() {
		return errStopping
	}
	*b = f.s.link.buf()
	return nil
}

// copyDecoded copies the decoded octets of a part, without the first c.off.
func (f *fetcher) copyDecoded(b *[]byte, body *journal.Body, c *content) (written bool, err error) {
	r := c.decode.Decode(body)
	if _, err := io.CopyN(io.Discard, r, c.off); err != nil {
		return false, fmt.Errorf("decode part: %w", err)
	}
	for left := c.size; left > 0; {
		n := int(min(left, pieceMax))
		*b = slices.Grow(*b, n)
		at := len(*b)
		if _, err := io.ReadFull(r, (*b)[at:at+n]); err != nil {
			return written, fmt.Errorf("decode part: %w", err)
		}
		*b = (*b)[:at+n]
		left -= int64(n)
		if left > 0 {
			written = true
			if err := f.piece(b); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}
