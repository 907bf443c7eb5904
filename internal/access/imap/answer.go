package imap

import (
	"context"
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// status is the first word of a tagged response.
type status string

const (
	statusOK  status = "OK"
	statusNO  status = "NO"
	statusBAD status = "BAD"
)

// answer is a tagged response: status, response code without brackets or "",
// and text for people.
type answer struct {
	status status
	code   string
	text   string
	quiet  bool // no notices of changes before it: they could not be understood
}

func ok(text string) answer           { return answer{status: statusOK, text: text} }
func okCode(code, text string) answer { return answer{status: statusOK, code: code, text: text} }
func no(code, text string) answer     { return answer{status: statusNO, code: code, text: text} }
func bad(text string) answer          { return answer{status: statusBAD, text: text, quiet: true} }

// failed turns an error of the store into an answer. What a client may know
// of is said with the codes of RFC 5530; all else is logged and is a fault
// that says nothing.
func (s *session) failed(what string, err error) answer {
	var damage *journal.DamageError
	switch {
	case s.link.err != nil:
		return answer{} // nobody hears it
	case errors.Is(err, errStopping):
		return no("UNAVAILABLE", "Server is shutting down")
	case errors.Is(err, mailbox.ErrNoSuchMailbox):
		return no("NONEXISTENT", "No such mailbox")
	case errors.Is(err, mailbox.ErrExists):
		return no("ALREADYEXISTS", "Mailbox already exists")
	case errors.Is(err, mailbox.ErrName):
		return no("CANNOT", "Mailbox name is not allowed")
	case errors.Is(err, mailbox.ErrInboxForever):
		return no("CANNOT", "INBOX cannot be deleted")
	case errors.Is(err, mailbox.ErrSpecialUse):
		return no("USEATTR", "Special use is not known or taken")
	case errors.Is(err, mailbox.ErrFlag):
		return no("CANNOT", "Flag is not allowed")
	case errors.Is(err, mailbox.ErrLimit):
		return no("LIMIT", "A limit of the server is reached")
	case errors.Is(err, mailbox.ErrNoSuchMessage):
		return no("EXPUNGEISSUED", "Some messages are gone")
	case errors.Is(err, journal.ErrFull):
		s.log.Warn("no room for a change", telemetry.Cmd, what, telemetry.Err, err)
		return no("UNAVAILABLE", "No room on the server's disk, please try later")
	case errors.As(err, &damage):
		s.log.Error("message is damaged", telemetry.Cmd, what, telemetry.Err, err)
		return no("CORRUPTION", "Stored message is damaged")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		s.log.Warn("command took too long", telemetry.Cmd, what, telemetry.Err, err)
		return no("UNAVAILABLE", "Server is too busy, please try later")
	}
	s.log.Error("command failed", telemetry.Cmd, what, telemetry.Err, err)
	return no("UNAVAILABLE", "Server fault, please try later")
}

// tagged appends a tagged response.
func tagged(b []byte, tag string, a answer) []byte {
	b = append(b, tag...)
	b = append(b, ' ')
	return condition(b, a)
}

// untagged appends a condition without a tag.
func untagged(b []byte, a answer) []byte {
	b = append(b, "* "...)
	return condition(b, a)
}

func condition(b []byte, a answer) []byte {
	b = append(b, a.status...)
	b = append(b, ' ')
	if a.code != "" {
		b = append(b, '[')
		b = append(b, a.code...)
		b = append(b, "] "...)
	}
	b = append(b, a.text...)
	return append(b, '\r', '\n')
}

// bye appends the last response of a session.
func bye(b []byte, code, text string) []byte {
	return untagged(b, answer{status: "BYE", code: code, text: text})
}

// line writes one untagged response that is not on a hot path.
func (s *session) line(format string, args ...any) {
	b := append(s.link.buf(), "* "...)
	b = fmt.Appendf(b, format, args...)
	s.link.put(append(b, '\r', '\n'))
}
