package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Rename is RENAME (RFC 9051 §6.3.6).
type Rename struct{ From, To string }

// Name implements Verb.
func (Rename) Name() string { return "RENAME" }

func parseRename(s *wire.Scanner) Verb {
	var v Rename
	s.SP()
	v.From = s.Mailbox()
	s.SP()
	v.To = s.Mailbox()
	return v
}

func (v Rename) appendArgs(dst []byte) []byte {
	dst = wire.AppendAString(append(dst, ' '), v.From)
	return wire.AppendAString(append(dst, ' '), v.To)
}
