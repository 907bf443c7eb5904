package pop3

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// capa answers CAPA (RFC 2449 §5). What needs TLS is named only under TLS, so
// that a client that finds no way to log in sees STLS.
func (s *session) capa() {
	s.ok("capabilities")
	lines := []string{"TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER", "UTF8 USER"}
	if s.tls {
		lines = append(lines, "USER", "SASL "+strings.Join(sasl.Mechanisms(true), " "))
	} else {
		lines = append(lines, "STLS")
	}
	lines = append(lines, "IMPLEMENTATION "+s.srv.o.Implementation)
	for _, l := range lines {
		s.out.WriteString(l + "\r\n")
	}
	s.out.WriteString(".\r\n")
}
