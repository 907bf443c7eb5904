package imap

import (
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// capability answers CAPABILITY (RFC 9051 §6.1.1).
func (s *session) capability() answer {
	b := append(s.link.buf(), "* "...)
	b = append(b, s.capabilities()...)
	s.link.put(append(b, '\r', '\n'))
	return ok("CAPABILITY completed")
}

// capabilities is "CAPABILITY …" as it fits the session's state: what serves
// a login before it, what serves mail after it.
func (s *session) capabilities() string {
	var b strings.Builder
	b.WriteString("CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE")
	switch {
	case s.loggedIn:
		b.WriteString(" IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE CREATE-SPECIAL-USE" +
			" LIST-EXTENDED LIST-STATUS ESEARCH SEARCHRES STATUS=SIZE BINARY CONDSTORE QRESYNC MULTIAPPEND" +
			" UTF8=ACCEPT APPENDLIMIT=")
		b.WriteString(strconv.FormatInt(s.srv.o.AppendLimit, 10))
		if s.link.inflate == nil {
			b.WriteString(" COMPRESS=DEFLATE")
		}
	case s.secure:
		for _, m := range sasl.Mechanisms(true) {
			if m != sasl.Login { // LOGIN has a command of its own
				b.WriteString(" AUTH=")
				b.WriteString(m)
			}
		}
	default:
		b.WriteString(" STARTTLS LOGINDISABLED")
	}
	return b.String()
}
