package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// Compress is COMPRESS (RFC 4978 §3).
type Compress struct{ Algorithm string } // upper case

// Name implements Verb.
func (Compress) Name() string { return "COMPRESS" }

func parseCompress(s *wire.Scanner) Verb {
	s.SP()
	return Compress{Algorithm: s.Keyword()}
}

func (v Compress) appendArgs(dst []byte) []byte {
	return append(append(dst, ' '), v.Algorithm...)
}
