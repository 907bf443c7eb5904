package imap

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
)

// enable answers ENABLE (RFC 9051 §6.3.1). It is taken in the selected state
// too, where RFC 5161 §3.1 forbids it and RFC 7162 §3.1.2.1 describes it.
func (s *session) enable(v command.Enable) answer {
	var on []string
	for _, c := range v.Capabilities {
		switch c {
		case "IMAP4REV2":
			c = "IMAP4rev2"
			s.rev2, s.utf8 = true, true
		case "UTF8=ACCEPT":
			s.utf8 = true
		case "CONDSTORE":
			s.enableCondStore()
		case "QRESYNC":
			s.enableCondStore()
			s.qresync = true
		default:
			continue // RFC 9051 §6.3.1: what is not known is passed over
		}
		on = append(on, c)
	}
	s.line("%s", strings.TrimSpace("ENABLED "+strings.Join(on, " ")))
	return ok("ENABLE completed")
}

// enableCondStore is what every command with a mod-sequence does (RFC 7162
// §3.1): from now on the session is told of them.
func (s *session) enableCondStore() {
	if s.condStore {
		return
	}
	s.condStore = true
	if s.box != nil {
		s.line("OK [HIGHESTMODSEQ %d] Highest", s.box.view.modseq)
	}
}
