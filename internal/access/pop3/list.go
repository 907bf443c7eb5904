package pop3

import (
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// stat answers STAT (RFC 1939 §5): how many messages, how many octets, of
// those not marked as deleted.
func (s *session) stat() {
	s.ok("%d %d", len(s.drop.messages)-s.deletedCount, s.totalSize-s.deletedSize)
}

// list answers LIST (RFC 1939 §5).
func (s *session) list(args string) {
	s.listing(args, func(b []byte, m *mailbox.Entry) []byte {
		return strconv.AppendInt(b, int64(m.Size), 10)
	})
}

// uidl answers UIDL (RFC 1939 §7): at most 21 of the 70 octets allowed.
func (s *session) uidl(args string) {
	s.listing(args, func(b []byte, m *mailbox.Entry) []byte {
		b = strconv.AppendUint(b, uint64(s.drop.uidValidity), 10)
		b = append(b, '.')
		return strconv.AppendUint(b, uint64(m.UID), 10)
	})
}

// listing answers with a line for one message, or for each not marked as
// deleted.
func (s *session) listing(args string, fact func([]byte, *mailbox.Entry) []byte) {
	if args != "" {
		if n, ok := s.message(args); ok {
			s.ok("%d %s", n, fact(nil, &s.drop.messages[n-1]))
		}
		return
	}
	s.ok("%d messages (%d octets)", len(s.drop.messages)-s.deletedCount, s.totalSize-s.deletedSize)
	var line []byte
	for i := range s.drop.messages {
		if s.isDeleted(i + 1) {
			continue
		}
		line = strconv.AppendInt(line[:0], int64(i+1), 10)
		line = append(line, ' ')
		line = fact(line, &s.drop.messages[i])
		line = append(line, '\r', '\n')
		if _, err := s.out.Write(line); err != nil {
			s.over = "lost"
			return
		}
	}
	s.out.WriteString(".\r\n")
}

// message reads a message number and refuses one that is none, or that is
// marked as deleted.
func (s *session) message(args string) (int, bool) {
	n, ok := number(args)
	if !ok {
		s.wrong("not a message number")
		return 0, false
	}
	if n < 1 || n > len(s.drop.messages) || s.isDeleted(n) {
		s.refuse("", "no such message")
		return 0, false
	}
	return n, true
}
