package imap

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// startTLS answers STARTTLS (RFC 9051 §6.2.1). What the client sent behind
// the command came in the clear and is thrown away: it may be a stranger's.
func (s *session) startTLS(ctx context.Context, tag string) answer {
	if s.secure {
		return bad("TLS is on already")
	}
	if s.loggedIn {
		return bad("Too late for STARTTLS")
	}
	s.link.put(tagged(s.link.buf(), tag, ok("Begin TLS negotiation now")))
	if s.link.flush() != nil {
		return answer{}
	}
	s.link.in = nil
	hctx, cancel := context.WithDeadline(ctx, s.link.endBy)
	defer cancel()
	if err := s.conn.StartTLS(hctx); err != nil {
		s.log.Info("starttls failed", telemetry.Err, err)
		s.over = "tls"
		return answer{}
	}
	s.secure = true
	return answer{}
}
