package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Create is CREATE (RFC 9051 §6.3.4, RFC 6154 §3).
type Create struct {
	Mailbox string
	Use     []string // special-use attributes, `\Sent`
}

// Name implements Verb.
func (Create) Name() string { return "CREATE" }

func parseCreate(s *wire.Scanner) Verb {
	var v Create
	s.SP()
	v.Mailbox = s.Mailbox()
	if s.AtEnd() {
		return v
	}
	s.SP()
	list(s, func() {
		if !s.TryWord("USE") {
			s.Fail("USE")
			return
		}
		s.SP()
		v.Use = append(v.Use, s.FlagList()...)
	})
	return v
}

func (v Create) appendArgs(dst []byte) []byte {
	dst = wire.AppendAString(append(dst, ' '), v.Mailbox)
	if len(v.Use) == 0 {
		return dst
	}
	dst = appendWords(append(dst, " (USE "...), v.Use)
	return append(dst, ')')
}
