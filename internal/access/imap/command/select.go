package command

import (
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// Select is SELECT or EXAMINE (RFC 9051 §6.3.2, §6.3.3; RFC 7162 §3.1.8, §3.2.5).
type Select struct {
	Mailbox   string
	ReadOnly  bool // EXAMINE
	CondStore bool
	QResync   *QResync
}

// QResync is what a client remembers of a mailbox (RFC 7162 §3.2.5).
type QResync struct {
	UIDValidity uint32
	ModSeq      uint64
	Known       wire.Set // UIDs; without ranges: not given
	// SeqMatch and UIDMatch are the message sequence match data (RFC 7162
	// §3.2.5.2); without ranges: not given.
	SeqMatch, UIDMatch wire.Set
}

// Name implements Verb.
func (v Select) Name() string {
	if v.ReadOnly {
		return "EXAMINE"
	}
	return "SELECT"
}

func parseSelect(s *wire.Scanner, readOnly bool) Verb {
	v := Select{ReadOnly: readOnly}
	s.SP()
	v.Mailbox = s.Mailbox()
	if s.AtEnd() {
		return v
	}
	s.SP()
	list(s, func() {
		switch {
		case s.TryWord("CONDSTORE"):
			v.CondStore = true
		case v.QResync == nil && s.TryWord("QRESYNC"):
			s.SP()
			v.QResync = parseQResync(s)
		default:
			s.Fail("CONDSTORE or QRESYNC")
		}
	})
	return v
}

func parseQResync(s *wire.Scanner) *QResync {
	var q QResync
	s.Byte('(')
	q.UIDValidity = s.NonZero()
	s.SP()
	q.ModSeq = s.Number64()
	if s.Try(' ') && s.Peek() != '(' {
		q.Known = plainSet(s)
		if s.Try(')') {
			return &q
		}
		s.SP()
	}
	if s.Try('(') {
		q.SeqMatch = plainSet(s)
		s.SP()
		q.UIDMatch = plainSet(s)
		s.Byte(')')
	}
	s.Byte(')')
	return &q
}

// plainSet reads a set in which neither "*" nor "$" may stand.
func plainSet(s *wire.Scanner) wire.Set {
	set := s.Set()
	if set.Saved {
		s.Fail("a set of numbers")
		return wire.Set{}
	}
	for _, r := range set.Ranges {
		if r.First == wire.Star || r.Last == wire.Star {
			s.Fail("a set without *")
			return wire.Set{}
		}
	}
	return set
}

func (v Select) appendArgs(dst []byte) []byte {
	dst = wire.AppendAString(append(dst, ' '), v.Mailbox)
	if !v.CondStore && v.QResync == nil {
		return dst
	}
	dst = append(dst, ' ', '(')
	if v.CondStore {
		dst = append(dst, "CONDSTORE"...)
	}
	if q := v.QResync; q != nil {
		if v.CondStore {
			dst = append(dst, ' ')
		}
		dst = append(dst, "QRESYNC ("...)
		dst = strconv.AppendUint(dst, uint64(q.UIDValidity), 10)
		dst = strconv.AppendUint(append(dst, ' '), q.ModSeq, 10)
		if len(q.Known.Ranges) > 0 {
			dst = wire.AppendSet(append(dst, ' '), q.Known)
		}
		if len(q.SeqMatch.Ranges) > 0 {
			dst = wire.AppendSet(append(dst, " ("...), q.SeqMatch)
			dst = wire.AppendSet(append(dst, ' '), q.UIDMatch)
			dst = append(dst, ')')
		}
		dst = append(dst, ')')
	}
	return append(dst, ')')
}
