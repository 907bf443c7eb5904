package fate

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// matches tells whether a message is what f looks for.
func (f *Find) matches(m *Message) bool {
	switch {
	case f.ID != "" && m.ID != f.ID,
		f.MessageID != "" && m.MessageID != bracketed(f.MessageID),
		!f.Since.IsZero() && m.Received.Before(f.Since),
		!f.Until.IsZero() && !m.Received.Before(f.Until),
		f.Account != 0 && !m.concerns(f),
		f.Address != "" && !m.names(addressOf(f.Address)):
		return false
	}
	return true
}

// concerns tells whether an account has sent the message or gets it.
func (m *Message) concerns(f *Find) bool {
	if m.Account == f.Account {
		return true
	}
	for i := range m.Recipients {
		if m.Recipients[i].Account == f.Account {
			return true
		}
	}
	return false
}

// names tells whether an address is in the envelope.
func (m *Message) names(a message.Address) bool {
	if same(m.From, a) {
		return true
	}
	for i := range m.Recipients {
		if r := &m.Recipients[i]; same(r.Address, a) || same(r.Rcpt, a) {
			return true
		}
	}
	return false
}

// same compares addresses as people do, without regard to case.
func same(a, b message.Address) bool {
	return strings.EqualFold(a.Local, b.Local) && strings.EqualFold(string(a.Domain), string(b.Domain))
}

// addressOf reads an address as an operator types it; one that is none matches
// nothing.
func addressOf(text string) message.Address {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")
	if a, err := message.ParseAddress(text); err == nil {
		return a
	}
	local, domain, _ := cutLast(text, "@")
	return message.Address{Local: local, Domain: message.Domain(domain)}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// addressKey is the key of an address in fate_names.
func addressKey(text string) uint32 {
	return keyOf(keyAddress, packAddress(nil, addressOf(text)))
}

// bracketed is a Message-ID as headers have it.
func bracketed(id string) string {
	return "<" + strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">") + ">"
}
