package imap

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
)

// delete answers DELETE (RFC 9051 §6.3.5). The mailbox may be the selected
// one, which then is selected no longer.
func (s *session) delete(ctx context.Context, v command.Delete) answer {
	name, a, valid := s.mailboxName(v.Mailbox)
	if !valid {
		return a
	}
	dctx, cancel := changeCtx(ctx)
	defer cancel()
	if err := s.srv.boxes.Delete(dctx, s.account(), name); err != nil {
		return s.failed("DELETE", err)
	}
	if s.box != nil && s.box.mb.Deleted() {
		s.leaveBox()
		if s.qresync || s.rev2 {
			s.line("OK [CLOSED] Mailbox was deleted")
		}
	}
	return ok("DELETE completed")
}
