package command

import (
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// ErrNotAppend says that a literal is no message of an APPEND but an
// argument: of another command, or the APPEND's mailbox name.
var ErrNotAppend = errors.New("literal is no message")

// AppendHead is what an APPEND says before its first message (RFC 9051
// §6.3.12).
type AppendHead struct {
	Tag     string
	Mailbox string
}

// AppendMessage is what an APPEND says of one message before its octets.
type AppendMessage struct {
	Flags   []string
	Date    time.Time // zero: not given
	UTF8    bool      // inside "UTF8 (~{…}" (RFC 6855 §4)
	Literal wire.Literal
}

// ParseAppend reads an APPEND up to the announcement of its first message,
// which ends b. ErrNotAppend: the literal must be read into the command. The
// tag and the mailbox are set even with a syntax error, if they could be read.
func ParseAppend(b []byte) (AppendHead, AppendMessage, error) {
	var h AppendHead
	s := wire.NewScanner(b)
	h.Tag = s.Tag()
	s.SP()
	if !s.TryWord("APPEND") {
		return h, AppendMessage{}, ErrNotAppend
	}
	s.SP()
	before := s.Pos()
	mailbox := s.Mailbox()
	if s.Err() != nil {
		if before < len(b) && b[before] == '{' {
			return h, AppendMessage{}, ErrNotAppend
		}
		return h, AppendMessage{}, s.Err()
	}
	h.Mailbox = mailbox
	m, err := parseAppendMessage(s)
	return h, m, err
}

// ParseAppendNext reads what follows a message: the end of the command, or
// the next message's announcement (RFC 3502), which ends b. utf8 says that the
// message before was inside "UTF8 (".
func ParseAppendNext(b []byte, utf8 bool) (m AppendMessage, end bool, err error) {
	s := wire.NewScanner(b)
	if utf8 {
		s.Byte(')')
	}
	if s.AtEnd() {
		s.End()
		return m, s.Err() == nil, s.Err()
	}
	m, err = parseAppendMessage(s)
	return m, false, err
}

func parseAppendMessage(s *wire.Scanner) (AppendMessage, error) {
	var m AppendMessage
	s.SP()
	if s.Peek() == '(' {
		m.Flags = s.FlagList()
		s.SP()
	}
	if s.Peek() == '"' {
		m.Date = s.DateTime()
		s.SP()
	}
	if s.TryWord("UTF8") {
		m.UTF8 = true
		s.SP()
		s.Byte('(')
	}
	if err := s.Err(); err != nil {
		return m, err
	}
	lit, ok := wire.ParseLiteral(s.Rest())
	if !ok || lit.Start != 0 || m.UTF8 && !lit.Binary {
		s.Fail("the message as a literal")
		return m, s.Err()
	}
	m.Literal = lit
	return m, nil
}
