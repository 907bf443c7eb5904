package pop3

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// stls answers STLS (RFC 2595 §4). Nothing that came in the clear counts
// afterwards: not the name of a USER, and not commands sent behind STLS,
// which no client may send and which an attacker could have put there.
func (s *session) stls(ctx context.Context) {
	switch {
	case s.tls:
		s.wrong("TLS is on already")
		return
	case s.utf8: // RFC 6856 §2: not after UTF8
		s.wrong("STLS comes before UTF8")
		return
	case s.in.Buffered() > 0:
		s.wrong("commands behind STLS came in the clear")
		s.over = "injection"
		return
	}
	s.ok("begin TLS")
	if err := s.out.Flush(); err != nil {
		s.over = "lost"
		return
	}
	o := &s.srv.o
	s.conn.SetDeadline(o.Clock.Now().Add(handshakeTimeout))
	if ctx.Err() != nil {
		s.over = "stopped"
		return
	}
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := s.conn.StartTLS(hctx); err != nil {
		s.log.Debug("handshake failed", telemetry.Err, err)
		s.over = "handshake"
		return
	}
	s.in.Reset(s.conn)
	s.tls, s.user = true, ""
}
