package command

import (
	"encoding/base64"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// Authenticate is AUTHENTICATE (RFC 9051 §6.2.2).
type Authenticate struct {
	Mechanism string
	// Initial is the initial response (RFC 4959): nil if there was none,
	// empty but not nil for "=".
	Initial []byte
}

// Name implements Verb.
func (Authenticate) Name() string { return "AUTHENTICATE" }

func parseAuthenticate(s *wire.Scanner) Verb {
	s.SP()
	v := Authenticate{Mechanism: s.Keyword()}
	if s.AtEnd() {
		return v
	}
	s.SP()
	if s.Try('=') {
		v.Initial = []byte{}
		return v
	}
	text := s.AString() // an atom may hold "+", "/" and "="
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		s.Fail("base64")
		return v
	}
	v.Initial = append([]byte{}, raw...)
	return v
}

func (v Authenticate) appendArgs(dst []byte) []byte {
	dst = append(append(dst, ' '), v.Mechanism...)
	switch {
	case v.Initial == nil:
		return dst
	case len(v.Initial) == 0:
		return append(dst, " ="...)
	}
	return base64.StdEncoding.AppendEncode(append(dst, ' '), v.Initial)
}
