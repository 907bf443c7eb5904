package pop3

// utf8Mode answers UTF8 (RFC 6856 §2). Deviation: messages with UTF-8 in
// their headers are served as they are whether the mode is on or not; the RFC
// would let them be refused to a client without it, which no user could mend.
func (s *session) utf8Mode() {
	s.utf8 = true
	s.ok("UTF-8 throughout")
}
