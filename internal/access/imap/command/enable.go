package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Enable is ENABLE (RFC 9051 §6.3.1).
type Enable struct{ Capabilities []string } // upper case, at least one

// Name implements Verb.
func (Enable) Name() string { return "ENABLE" }

func parseEnable(s *wire.Scanner) Verb {
	var v Enable
	for {
		s.SP()
		v.Capabilities = append(v.Capabilities, s.Keyword())
		if s.Err() != nil || s.AtEnd() {
			return v
		}
	}
}

func (v Enable) appendArgs(dst []byte) []byte {
	for _, c := range v.Capabilities {
		dst = append(append(dst, ' '), c...)
	}
	return dst
}
