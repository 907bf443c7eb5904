package relay

import "bytes"

// stuffer doubles the dots that begin lines (RFC 5321 §4.5.2) and ends the
// body. The zero value is before the first line.
type stuffer struct {
	last  byte // what was sent last
	begun bool // something was
}

// append appends octets of a body to dst. It returns false for a bare CR or
// LF: what comes before this takes none, and it must not get through if it
// did.
func (s *stuffer) append(dst, p []byte) ([]byte, bool) {
	for len(p) > 0 {
		if s.last == '\r' && p[0] != '\n' {
			return dst, false
		}
		if (s.last == '\n' || !s.begun) && p[0] == '.' {
			dst = append(dst, '.')
		}
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line = p[:i+1]
			if i > 0 && p[i-1] != '\r' || i == 0 && s.last != '\r' {
				return dst, false
			}
		}
		if cr := bytes.IndexByte(line, '\r'); cr >= 0 && cr < len(line)-1 && line[cr+1] != '\n' {
			return dst, false
		}
		dst = append(dst, line...)
		s.last, s.begun = line[len(line)-1], true
		p = p[len(line):]
	}
	return dst, true
}

// end appends the final dot, on a line of its own; false where the body ends
// in a bare CR.
func (s *stuffer) end(dst []byte) ([]byte, bool) {
	switch {
	case s.last == '\r':
		return dst, false
	case s.begun && s.last != '\n':
		dst = append(dst, '\r', '\n')
	}
	return append(dst, '.', '\r', '\n'), true
}
