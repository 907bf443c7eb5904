package imap

// logout answers LOGOUT (RFC 9051 §6.1.3).
func (s *session) logout() answer {
	s.leaveBox()
	s.end("logout", "", "Logging out")
	return ok("LOGOUT completed")
}
