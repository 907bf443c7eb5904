package lobby

import (
	"bytes"

	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// scan looks at octets of a dialogue for what no mail server sends: NUL, CR or
// LF alone, and, outside bodies, lines longer than any command. What to answer
// is the machine's business.
func (g *guest) scan(in []byte, body bool) policy.Faults {
	var f policy.Faults
	if bytes.IndexByte(in, 0) >= 0 {
		f |= policy.BareNewline
	}
	if g.flags&flagCR != 0 && len(in) > 0 && in[0] != '\n' {
		f |= policy.BareNewline
	}
	for rest, first := in, true; len(rest) > 0; first = false {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			g.line = uint16(min(int(g.line)+len(rest), 1<<16-1))
			if cr := bytes.IndexByte(rest, '\r'); cr >= 0 && cr < len(rest)-1 {
				f |= policy.BareNewline
			}
			if g.line > smtp.CommandLineMax && !body {
				f |= policy.LongLine
			}
			break
		}
		if int(g.line)+end >= smtp.CommandLineMax && !body {
			f |= policy.LongLine
		}
		g.line = 0
		switch cr := bytes.IndexByte(rest[:end], '\r'); {
		case end == 0 && first && g.flags&flagCR != 0: // its CR came before
		case cr != end-1 || end == 0:
			f |= policy.BareNewline
		}
		rest = rest[end+1:]
	}
	g.flags &^= flagCR
	if len(in) > 0 && in[len(in)-1] == '\r' {
		g.flags |= flagCR
	}
	return f
}

// notSMTP recognises other protocols by what a connection begins with: HTTP,
// TLS and SSH.
func notSMTP(in []byte) bool {
	for _, s := range [...]string{
		"GET ", "POST ", "PUT ", "HEAD ", "CONNECT ", "OPTIONS ", "DELETE ", "HOST:", "USER-AGENT:", "ACCEPT:", "CONTENT-",
		"PRI * HTTP", "SSH-", "\x16\x03",
	} {
		if len(in) >= len(s) && equalFold(in[:len(s)], s) {
			return true
		}
	}
	return false
}

// equalFold reports whether b is the upper-case word in any case.
func equalFold(b []byte, word string) bool {
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}
