package pop3

// dele answers DELE (RFC 1939 §5): a mark for QUIT, nothing more.
func (s *session) dele(args string) {
	n, ok := s.message(args)
	if !ok {
		return
	}
	if s.deleted == nil {
		s.deleted = make([]bool, len(s.drop.messages))
	}
	s.deleted[n-1] = true
	s.deletedCount++
	s.deletedSize += int64(s.drop.messages[n-1].Size)
	s.ok("message %d will be deleted", n)
}

// rset answers RSET (RFC 1939 §5).
func (s *session) rset() {
	s.deleted, s.deletedCount, s.deletedSize = nil, 0, 0
	s.ok("%d messages (%d octets)", len(s.drop.messages), s.totalSize)
}

func (s *session) isDeleted(n int) bool { return s.deleted != nil && s.deleted[n-1] }
