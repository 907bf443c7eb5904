package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Subscribe is SUBSCRIBE or UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8).
type Subscribe struct {
	Mailbox string
	On      bool
}

// Name implements Verb.
func (v Subscribe) Name() string {
	if v.On {
		return "SUBSCRIBE"
	}
	return "UNSUBSCRIBE"
}

func parseSubscribe(s *wire.Scanner, on bool) Verb {
	s.SP()
	return Subscribe{Mailbox: s.Mailbox(), On: on}
}

func (v Subscribe) appendArgs(dst []byte) []byte {
	return wire.AppendAString(append(dst, ' '), v.Mailbox)
}
