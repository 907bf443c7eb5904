package imap

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
)

// rename answers RENAME (RFC 9051 §6.3.6).
func (s *session) rename(ctx context.Context, v command.Rename) answer {
	from, a, valid := s.mailboxName(v.From)
	if !valid {
		return a
	}
	to, a, valid := s.mailboxName(v.To)
	if !valid {
		return a
	}
	rctx, cancel := changeCtx(ctx)
	defer cancel()
	if err := s.srv.boxes.Rename(rctx, s.account(), from, to); err != nil {
		return s.failed("RENAME", err)
	}
	return ok("RENAME completed")
}
