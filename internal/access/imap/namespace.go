package imap

// namespace answers NAMESPACE (RFC 9051 §6.3.10): one personal hierarchy,
// nothing of other people, nothing shared.
func (s *session) namespace() answer {
	s.line(`NAMESPACE (("" "/")) NIL NIL`)
	return ok("NAMESPACE completed")
}
