package intake

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// authorsMax bounds the mailboxes of a From field that are looked at: more
// than one is rare, more than these is nobody's.
const authorsMax = 100

// submission is the header of a message of one of our users, being brought
// into the form in which it leaves (RFC 6409 §5 and §8).
type submission struct {
	id, hostname string
	date         string          // for Date
	sender       message.Address // for From
	maySend      func(message.Address) bool

	out       []byte // what stays of the header
	froms     int    // fields From, Sender
	senders   int
	dated     bool
	messageID string
	author    message.Address // the first mailbox in From
}

// edit returns the header without its blank line: without what must not leave,
// with what must not be missing. maySend of nil lets pass any author.
func (s *submission) edit(raw []byte) ([]byte, error) {
	s.out = make([]byte, 0, len(raw)+256)
	for f := range message.Fields(raw) {
		keep, err := s.field(f)
		if err != nil {
			return nil, err
		}
		if keep {
			s.out = append(s.out, f.Raw...)
		}
	}
	s.complete()
	return s.out, nil
}

// field looks at one field, and says whether it stays.
func (s *submission) field(f message.Field) (keep bool, err error) {
	switch strings.ToLower(f.Name) {
	case "bcc", "resent-bcc": // RFC 5322 §3.6.3: nobody shall see them
		return false, nil
	case "return-path": // RFC 5321 §4.4: only the last host writes it
		return false, nil
	case "date":
		if f.Value() == "" {
			return false, nil
		}
		s.dated = true
	case "message-id":
		if f.Value() == "" {
			return false, nil
		}
		if s.messageID == "" {
			s.messageID = f.Value()
		}
	case "from":
		if s.froms++; s.froms > 1 {
			return false, &smtp.Reply{Code: 550, Enhanced: "5.6.0", Text: "The message has more than one From field"}
		}
		return true, s.checkAuthors("From", f.Value())
	case "sender":
		if s.senders++; s.senders > 1 {
			return false, &smtp.Reply{Code: 550, Enhanced: "5.6.0", Text: "The message has more than one Sender field"}
		}
		return true, s.checkAuthors("Sender", f.Value())
	}
	return true, nil
}

// checkAuthors refuses a field that names anybody but our user, for all that
// its many readers may make of it: what is no address is nobody's.
func (s *submission) checkAuthors(name, value string) error {
	list := message.ParseAddressList(value)
	seen := 0
	for _, a := range list {
		if a.Group() {
			continue
		}
		addr, ok := addressOf(a)
		if seen++; seen == 1 && name == "From" {
			s.author = addr
		}
		if s.maySend == nil {
			continue
		}
		if !ok || seen > authorsMax || !s.maySend(addr) {
			return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "The " + name + " field names " + shown(a) +
				", which you may not send as; ask your postmaster for a grant"}
		}
	}
	if seen == 0 && s.maySend != nil {
		return &smtp.Reply{Code: 550, Enhanced: "5.6.0", Text: "The " + name + " field names no address"}
	}
	return nil
}

// complete adds what RFC 5322 §3.6 demands and is missing (RFC 6409 §8.2,
// §8.3), and what makes replies find each other.
func (s *submission) complete() {
	add := func(field string) { s.out = append(append(s.out, field...), '\r', '\n') }
	if s.froms == 0 && !s.sender.IsZero() {
		s.author = s.sender
		add("From: <" + smtp.TracePath(s.sender) + ">")
	}
	if !s.dated {
		add("Date: " + s.date)
	}
	if s.messageID == "" {
		s.messageID = "<" + s.id + "@" + s.hostname + ">"
		add("Message-ID: " + s.messageID)
	}
}

// addressOf is the address that a header's names; ok is false for what is
// none.
func addressOf(a message.EnvelopeAddress) (addr message.Address, ok bool) {
	addr = message.Address{Local: a.Mailbox, Domain: message.Domain(a.Host)}
	if a.Mailbox == "" || a.Host == "" {
		return message.Address{}, false
	}
	addr, err := message.ParseAddress(addr.String())
	return addr, err == nil
}

// sameAddress compares as most hosts do: local parts in any case.
func sameAddress(a, b message.Address) bool {
	return a.Domain == b.Domain && strings.EqualFold(a.Local, b.Local)
}

// shownOctetsMax is how much of what is no address a reply quotes.
const shownOctetsMax = 100

// shown is an address of a header in a reply.
func shown(a message.EnvelopeAddress) string {
	text := a.Mailbox
	if a.Host != message.MissingHost {
		text += "@" + a.Host
	}
	if len(text) > shownOctetsMax {
		text = text[:shownOctetsMax] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
