package imap

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
)

// subscribe answers SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8). A
// name need not exist.
func (s *session) subscribe(ctx context.Context, v command.Subscribe) answer {
	name, a, valid := s.mailboxName(v.Mailbox)
	if !valid {
		return a
	}
	sctx, cancel := changeCtx(ctx)
	defer cancel()
	if err := s.srv.boxes.Subscribe(sctx, s.account(), name, v.On); err != nil {
		return s.failed(v.Name(), err)
	}
	return ok(v.Name() + " completed")
}
