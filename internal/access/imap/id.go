package imap

import (
	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// clientID answers ID (RFC 2971 §3.1).
func (s *session) clientID(v command.ID) answer {
	for _, p := range v.Pairs {
		if p.Field == "name" || p.Field == "NAME" {
			s.log.Debug("imap client", telemetry.Cmd, "ID", telemetry.Version, p.Value)
		}
	}
	b := append(s.link.buf(), `* ID ("name" "Breakwater"`...)
	if version := s.srv.o.Version; version != "" {
		b = append(b, ` "version" `...)
		b = wire.AppendString(b, version, false)
	}
	s.link.put(append(b, ")\r\n"...))
	return ok("ID completed")
}
