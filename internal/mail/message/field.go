package message

import (
	"bytes"
	"iter"
	"strings"
)

// Field is one header field.
type Field struct {
	Name string // as written, without the colon
	Raw  []byte // the whole field: name, colon, folding and line ends; a slice of the header
}

// Value returns the unfolded text after the colon without surrounding white
// space; NUL and bare CR became spaces. It is not decoded, see DecodeHeader.
func (f Field) Value() string {
	i := bytes.IndexByte(f.Raw, ':')
	return unfold(f.Raw[i+1:])
}

// Is reports whether the field has this name, in any case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Fields iterates over the fields of a header in order, up to its blank line
// or its end. Lines that are no fields are left out, together with what is
// folded to them. The Parser reads the same fields.
func Fields(header []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		var f Field
		start, end := 0, 0 // of f in header; end == 0: no field open
		for pos := 0; pos < len(header); {
			next := len(header)
			if i := bytes.IndexByte(header[pos:], '\n'); i >= 0 {
				next = pos + i + 1
			}
			line := header[pos:next]
			if blankLine(line) {
				break
			}
			if folded(line) {
				if end > 0 {
					end = next
				}
				pos = next
				continue
			}
			if end > 0 {
				f.Raw = header[start:end:end]
				if !yield(f) {
					return
				}
				end = 0
			}
			if name := fieldName(line); name != nil {
				f.Name, start, end = string(name), pos, next
			}
			pos = next
		}
		if end > 0 {
			f.Raw = header[start:end:end]
			yield(f)
		}
	}
}

// blankLine reports whether line is the end of a header.
func blankLine(line []byte) bool {
	return len(line) == 1 && line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

// folded reports whether line continues the one before it.
func folded(line []byte) bool { return line[0] == ' ' || line[0] == '\t' }

// fieldName returns the name of the field that begins in line, or nil when
// none does: printable ASCII up to the colon, white space before the colon
// allowed (RFC 5322 §2.2, §4.5).
func fieldName(line []byte) []byte {
	for i, c := range line {
		if c > ' ' && c < 0x7f && c != ':' {
			continue
		}
		name := line[:i]
		if i == 0 {
			return nil
		}
		for _, c := range line[i:] {
			switch c {
			case ' ', '\t':
			case ':':
				return name
			default:
				return nil
			}
		}
		return nil
	}
	return nil
}

// unfold returns the value of a field: line ends removed (RFC 5322 §2.2.3),
// bare CR and NUL as spaces, surrounding white space trimmed.
func unfold(b []byte) string {
	b = trimSpace(b)
	if bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 && bytes.IndexByte(b, 0) < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i, c := range b {
		switch {
		case c == '\n':
			continue
		case c == '\r' && i+1 < len(b) && b[i+1] == '\n':
			continue
		case c == '\r' || c == 0:
			c = ' '
		}
		out = append(out, c)
	}
	return string(trimSpace(out))
}

// trimSpace trims white space of header values, line ends and NULs included.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpaceOrNUL(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpaceOrNUL(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpaceOrNUL(c byte) bool {
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0
}

// fieldID names the fields the parser reads.
type fieldID uint8

const (
	fieldNone fieldID = iota
	fieldContentType
	fieldEncoding
	fieldContentID
	fieldDescription
	fieldDisposition
	fieldMD5
	fieldLanguage
	fieldLocation

	fieldDate // from here on: of the ENVELOPE
	fieldSubject
	fieldInReplyTo
	fieldMessageID
	fieldFrom
	fieldSender
	fieldReplyTo
	fieldTo
	fieldCc
	fieldBcc
)

func identify(name []byte) fieldID {
	const longest = len("content-transfer-encoding")
	if len(name) > longest {
		return fieldNone
	}
	var low [longest]byte
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	switch string(low[:len(name)]) {
	case "content-type":
		return fieldContentType
	case "content-transfer-encoding":
		return fieldEncoding
	case "content-id":
		return fieldContentID
	case "content-description":
		return fieldDescription
	case "content-disposition":
		return fieldDisposition
	case "content-md5":
		return fieldMD5
	case "content-language":
		return fieldLanguage
	case "content-location":
		return fieldLocation
	case "date":
		return fieldDate
	case "subject":
		return fieldSubject
	case "in-reply-to":
		return fieldInReplyTo
	case "message-id":
		return fieldMessageID
	case "from":
		return fieldFrom
	case "sender":
		return fieldSender
	case "reply-to":
		return fieldReplyTo
	case "to":
		return fieldTo
	case "cc":
		return fieldCc
	case "bcc":
		return fieldBcc
	}
	return fieldNone
}
