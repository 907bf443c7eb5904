package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Limits of ID (RFC 2971 §3.3).
const (
	IDPairsMax = 30
	IDValueMax = 1024
	IDFieldMax = 30
)

// IDPair is one field of an ID; an absent value (NIL) is empty.
type IDPair struct{ Field, Value string }

// ID is ID (RFC 2971 §3.1).
type ID struct{ Pairs []IDPair }

// Name implements Verb.
func (ID) Name() string { return "ID" }

func parseID(s *wire.Scanner) Verb {
	var v ID
	s.SP()
	if s.TryWord("NIL") {
		return v
	}
	list(s, func() {
		p := IDPair{Field: s.String()}
		s.SP()
		p.Value, _ = s.NString()
		if len(v.Pairs) == IDPairsMax || len(p.Field) > IDFieldMax || len(p.Value) > IDValueMax {
			s.Fail("an ID within the limits of RFC 2971")
			return
		}
		v.Pairs = append(v.Pairs, p)
	})
	return v
}

func (v ID) appendArgs(dst []byte) []byte {
	if len(v.Pairs) == 0 {
		return append(dst, " NIL"...)
	}
	dst = append(dst, ' ', '(')
	for i, p := range v.Pairs {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(appendText(dst, p.Field), ' ')
		if p.Value == "" {
			dst = append(dst, "NIL"...)
			continue
		}
		dst = appendText(dst, p.Value)
	}
	return append(dst, ')')
}

// appendText prints v for where only a string may stand, never an atom.
func appendText(dst []byte, v string) []byte {
	n := len(dst)
	dst = wire.AppendAString(dst, v)
	if c := dst[n]; c != '"' && c != '{' {
		dst = append(append(append(dst[:n], '"'), v...), '"')
	}
	return dst
}
