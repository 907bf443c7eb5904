package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Delete is DELETE (RFC 9051 §6.3.5).
type Delete struct{ Mailbox string }

// Name implements Verb.
func (Delete) Name() string { return "DELETE" }

func parseDelete(s *wire.Scanner) Verb {
	s.SP()
	return Delete{Mailbox: s.Mailbox()}
}

func (v Delete) appendArgs(dst []byte) []byte {
	return wire.AppendAString(append(dst, ' '), v.Mailbox)
}
