package command

import (
	"fmt"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// Limits of FETCH.
const (
	FetchItemsMax   = 200 // items; clients send about ten, prefetchers of parts some dozens
	HeaderFieldsMax = 200 // fields of one HEADER.FIELDS
	SectionDepthMax = 100 // numbers of one section: as deep as messages are parsed
)

// FetchKind says what a fetch item asks for.
type FetchKind uint8

// The kinds of items (RFC 9051 §6.4.5; RFC822…: RFC 3501 §6.4.5; MODSEQ: RFC
// 7162 §3.1.4.2).
const (
	FetchUID FetchKind = iota
	FetchFlags
	FetchInternalDate
	FetchSize
	FetchEnvelope
	FetchBody // BODY without a section: the structure without extensions
	FetchBodyStructure
	FetchModSeq
	FetchSection    // BODY[…]
	FetchBinary     // BINARY[…]
	FetchBinarySize // BINARY.SIZE[…]
	FetchRFC822
	FetchRFC822Header
	FetchRFC822Text
	fetchKindsEnd
)

func (k FetchKind) String() string {
	return [...]string{
		"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "MODSEQ",
		"BODY", "BINARY", "BINARY.SIZE", "RFC822", "RFC822.HEADER", "RFC822.TEXT",
	}[k]
}

// Text says which text of a part a section names.
type Text uint8

// The texts (RFC 9051 §6.4.5.1).
const (
	TextAll Text = iota // the whole part
	TextHeader
	TextHeaderFields
	TextHeaderFieldsNot
	TextText
	TextMIME
)

func (t Text) String() string {
	return [...]string{"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"}[t]
}

// Section names a part of a message or a text of it.
type Section struct {
	Part   []uint32
	Text   Text
	Fields []string // of TextHeaderFields and TextHeaderFieldsNot, as sent
}

// FetchItem is one item of a FETCH.
type FetchItem struct {
	Kind    FetchKind
	Peek    bool    // do not set \Seen
	Section Section // of FetchSection, FetchBinary and FetchBinarySize
	// Partial says that only Count octets from Offset on are wanted.
	Partial       bool
	Offset, Count uint64
}

// Fetch is FETCH or UID FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4.1, §3.2.6).
type Fetch struct {
	UID          bool
	Set          wire.Set
	Items        []FetchItem // macros are expanded
	ChangedSince uint64      // 0: not given
	Vanished     bool
}

// Name implements Verb.
func (v Fetch) Name() string { return uidName(v.UID, "FETCH") }

func parseFetch(s *wire.Scanner, uid bool) Verb {
	v := Fetch{UID: uid}
	s.SP()
	v.Set = s.Set()
	s.SP()
	switch {
	case s.TryWord("ALL"):
		v.Items = macro(FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope)
	case s.TryWord("FAST"):
		v.Items = macro(FetchFlags, FetchInternalDate, FetchSize)
	case s.TryWord("FULL"):
		v.Items = macro(FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope, FetchBody)
	case s.Peek() == '(':
		list(s, func() {
			if len(v.Items) == FetchItemsMax {
				s.Fail(fmt.Sprintf("at most %d items", FetchItemsMax))
				return
			}
			v.Items = append(v.Items, parseItem(s))
		})
		if len(v.Items) == 0 {
			s.Fail("a fetch item")
		}
	default:
		v.Items = []FetchItem{parseItem(s)}
	}
	if s.AtEnd() {
		return v
	}
	s.SP()
	v.parseModifiers(s)
	return v
}

func (v *Fetch) parseModifiers(s *wire.Scanner) {
	list(s, func() {
		switch {
		case v.ChangedSince == 0 && s.TryWord("CHANGEDSINCE"):
			s.SP()
			if v.ChangedSince = s.Number64(); v.ChangedSince == 0 {
				s.Fail("a mod-sequence above 0")
			}
		case s.TryWord("VANISHED"):
			v.Vanished = true
		default:
			s.Fail("CHANGEDSINCE or VANISHED")
		}
	})
	if v.Vanished && (!v.UID || v.ChangedSince == 0) {
		// RFC 7162 §3.2.6.
		s.Fail("VANISHED with UID FETCH and CHANGEDSINCE")
	}
}

func macro(kinds ...FetchKind) []FetchItem {
	items := make([]FetchItem, len(kinds))
	for i, k := range kinds {
		items[i].Kind = k
	}
	return items
}

func parseItem(s *wire.Scanner) FetchItem {
	word := s.Item()
	bracket := s.Peek() == '['
	var it FetchItem
	switch word {
	case "BODY", "BODY.PEEK":
		it = FetchItem{Kind: FetchSection, Peek: word != "BODY"}
		if !bracket && !it.Peek {
			return FetchItem{Kind: FetchBody}
		}
	case "BINARY", "BINARY.PEEK":
		it = FetchItem{Kind: FetchBinary, Peek: word != "BINARY"}
	case "BINARY.SIZE":
		it = FetchItem{Kind: FetchBinarySize}
	default:
		for k := range fetchKindsEnd {
			if k.String() == word {
				return FetchItem{Kind: k}
			}
		}
		s.Fail("a fetch item that is known")
		return it
	}
	s.Byte('[')
	it.Section = parseSection(s, it.Kind == FetchSection)
	s.Byte(']')
	if it.Kind != FetchBinarySize && s.Try('<') {
		it.Partial = true
		it.Offset = s.Number64()
		s.Byte('.')
		if it.Count = s.Number64(); it.Count == 0 {
			s.Fail("a count above 0")
		}
		s.Byte('>')
	}
	return it
}

func parseSection(s *wire.Scanner, texts bool) Section {
	var sec Section
	for c := s.Peek(); '0' <= c && c <= '9'; c = s.Peek() {
		if len(sec.Part) == SectionDepthMax {
			s.Fail(fmt.Sprintf("at most %d numbers in a section", SectionDepthMax))
			return Section{}
		}
		sec.Part = append(sec.Part, s.NonZero())
		if !s.Try('.') {
			return sec
		}
	}
	if s.Peek() == ']' && len(sec.Part) == 0 {
		return sec
	}
	if !texts {
		s.Fail("numbers only")
		return sec
	}
	switch s.Item() {
	case "HEADER":
		sec.Text = TextHeader
	case "HEADER.FIELDS":
		sec.Text, sec.Fields = TextHeaderFields, headerList(s)
	case "HEADER.FIELDS.NOT":
		sec.Text, sec.Fields = TextHeaderFieldsNot, headerList(s)
	case "TEXT":
		sec.Text = TextText
	case "MIME":
		sec.Text = TextMIME
		if len(sec.Part) == 0 {
			s.Fail("a part before MIME")
		}
	default:
		s.Fail("a section that is known")
	}
	return sec
}

func headerList(s *wire.Scanner) []string {
	var fields []string
	s.SP()
	list(s, func() {
		if len(fields) == HeaderFieldsMax {
			s.Fail(fmt.Sprintf("at most %d fields", HeaderFieldsMax))
			return
		}
		fields = append(fields, s.AString())
	})
	if len(fields) == 0 {
		s.Fail("a field")
	}
	return fields
}

func (v Fetch) appendArgs(dst []byte) []byte {
	dst = wire.AppendSet(append(dst, ' '), v.Set)
	dst = append(dst, ' ', '(')
	for i, it := range v.Items {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = it.Append(dst)
	}
	dst = append(dst, ')')
	if v.ChangedSince == 0 {
		return dst
	}
	dst = strconv.AppendUint(append(dst, " (CHANGEDSINCE "...), v.ChangedSince, 10)
	if v.Vanished {
		dst = append(dst, " VANISHED"...)
	}
	return append(dst, ')')
}

// Append prints the item as a command has it.
func (it FetchItem) Append(dst []byte) []byte {
	dst = append(dst, it.Kind.String()...)
	if it.Kind != FetchSection && it.Kind != FetchBinary && it.Kind != FetchBinarySize {
		return dst
	}
	if it.Peek {
		dst = append(dst, ".PEEK"...)
	}
	dst = it.Section.Append(dst)
	if it.Partial {
		dst = strconv.AppendUint(append(dst, '<'), it.Offset, 10)
		dst = strconv.AppendUint(append(dst, '.'), it.Count, 10)
		dst = append(dst, '>')
	}
	return dst
}

// Append prints the section with its brackets, as commands and responses have
// it.
func (sec Section) Append(dst []byte) []byte {
	dst = append(dst, '[')
	for i, n := range sec.Part {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(n), 10)
	}
	if sec.Text != TextAll {
		if len(sec.Part) > 0 {
			dst = append(dst, '.')
		}
		dst = append(dst, sec.Text.String()...)
	}
	if len(sec.Fields) > 0 {
		dst = append(dst, ' ', '(')
		for i, f := range sec.Fields {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = wire.AppendAString(dst, f)
		}
		dst = append(dst, ')')
	}
	return append(dst, ']')
}
