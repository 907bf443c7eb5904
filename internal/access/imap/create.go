package imap

import (
	"context"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
)

// create answers CREATE (RFC 9051 §6.3.4, RFC 6154 §3).
func (s *session) create(ctx context.Context, v command.Create) answer {
	name, a, valid := s.mailboxName(v.Mailbox)
	if !valid {
		return a
	}
	if len(v.Use) > 1 {
		return no("USEATTR", "A mailbox has one special use")
	}
	use := ""
	if len(v.Use) == 1 {
		var known bool
		if use, known = specialUse(v.Use[0]); !known {
			return no("USEATTR", "Special use is not known")
		}
	}
	cctx, cancel := changeCtx(ctx)
	defer cancel()
	if _, err := s.srv.boxes.Create(cctx, s.account(), name, use); err != nil {
		return s.failed("CREATE", err)
	}
	return ok("CREATE completed")
}

// specialUse gives an attribute in its usual spelling. \All and \Flagged
// (RFC 6154 §2) are views of other mailboxes, which there are none of.
func specialUse(v string) (string, bool) {
	for _, use := range []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`} {
		if strings.EqualFold(v, use) {
			return use, true
		}
	}
	return "", false
}
