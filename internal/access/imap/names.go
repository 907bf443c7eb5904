package imap

import (
	"strings"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// mailboxName turns a name as the client sent it into the store's: modified
// UTF-7 decoded in a session without UTF-8, INBOX in capitals (RFC 9051
// §5.1), no delimiter at the end. A client that sends UTF-8 without having
// said so is understood.
func (s *session) mailboxName(raw string) (string, answer, bool) {
	name, valid := s.decodeName(raw)
	switch {
	case !valid:
		return "", no("CANNOT", "Mailbox name is not encoded as it should be"), false
	case len(name) > mailboxNameMax:
		return "", no("CANNOT", "Mailbox name is too long"), false
	}
	name = strings.TrimSuffix(name, "/")
	if name == "" {
		return "", no("CANNOT", "Mailbox name is empty"), false
	}
	return canonical(name), answer{}, true
}

func (s *session) decodeName(raw string) (string, bool) {
	if s.utf8 || !ascii(raw) {
		return raw, utf8.ValidString(raw)
	}
	name, err := wire.DecodeUTF7(raw)
	return name, err == nil
}

func ascii(v string) bool {
	for i := range len(v) {
		if v[i] >= 0x80 {
			return false
		}
	}
	return true
}

// canonical writes INBOX, alone or as the first level, in capitals.
func canonical(name string) string {
	const inbox = "INBOX"
	if len(name) >= len(inbox) && strings.EqualFold(name[:len(inbox)], inbox) &&
		(len(name) == len(inbox) || name[len(inbox)] == '/') {
		return inbox + name[len(inbox):]
	}
	return name
}
