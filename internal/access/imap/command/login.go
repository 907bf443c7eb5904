package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Login is LOGIN (RFC 9051 §6.2.3).
type Login struct{ User, Password string }

// Name implements Verb.
func (Login) Name() string { return "LOGIN" }

func parseLogin(s *wire.Scanner) Verb {
	var v Login
	s.SP()
	v.User = s.AString()
	s.SP()
	v.Password = s.AString()
	return v
}

func (v Login) appendArgs(dst []byte) []byte {
	dst = wire.AppendAString(append(dst, ' '), v.User)
	return wire.AppendAString(append(dst, ' '), v.Password)
}
