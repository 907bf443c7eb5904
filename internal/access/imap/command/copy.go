package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Copy is COPY, MOVE or their UID forms (RFC 9051 §6.4.7, §6.4.8).
type Copy struct {
	UID     bool
	Move    bool
	Set     wire.Set
	Mailbox string
}

// Name implements Verb.
func (v Copy) Name() string {
	if v.Move {
		return uidName(v.UID, "MOVE")
	}
	return uidName(v.UID, "COPY")
}

func parseCopy(s *wire.Scanner, uid, move bool) Verb {
	v := Copy{UID: uid, Move: move}
	s.SP()
	v.Set = s.Set()
	s.SP()
	v.Mailbox = s.Mailbox()
	return v
}

func (v Copy) appendArgs(dst []byte) []byte {
	dst = wire.AppendSet(append(dst, ' '), v.Set)
	return wire.AppendAString(append(dst, ' '), v.Mailbox)
}

// UIDExpunge is UID EXPUNGE (RFC 9051 §6.4.9).
type UIDExpunge struct{ Set wire.Set }

// Name implements Verb.
func (UIDExpunge) Name() string { return "UID EXPUNGE" }

func (v UIDExpunge) appendArgs(dst []byte) []byte {
	return wire.AppendSet(append(dst, ' '), v.Set)
}
