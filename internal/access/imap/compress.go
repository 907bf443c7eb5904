package imap

import "github.com/breakwater-mail/breakwater/internal/access/imap/command"

// compress answers COMPRESS (RFC 4978 §3).
func (s *session) compress(tag string, v command.Compress) answer {
	if v.Algorithm != "DEFLATE" {
		return no("CANNOT", "DEFLATE is the only algorithm")
	}
	if s.link.inflate != nil {
		return no("COMPRESSIONACTIVE", "Compression is on already")
	}
	s.link.put(tagged(s.link.buf(), tag, ok("DEFLATE active")))
	s.link.compress()
	return answer{}
}
