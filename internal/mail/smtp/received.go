package smtp

import (
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// receivedDate is the date-time of RFC 5322 §3.3.
const receivedDate = "Mon, 2 Jan 2006 15:04:05 -0700"

// foldAt is where a trace field is folded: RFC 5322 §2.1.1 wants lines of no
// more than 78 characters where that is possible.
const foldAt = 78

// Received returns the trace field that says how a message came to hostname,
// with its CRLF (RFC 5321 §4.4). id names it there, unless it is "". The
// recipient is named only if there is one, so that nobody learns of others.
func (e *Envelope) Received(hostname, id string, now time.Time) string {
	words := []string{"from", clean(e.Helo), "(" + e.peer() + ")", "by", hostname, "with", e.Protocol}
	if e.TLS != "" {
		words = append(words, "("+clean(e.TLS)+")")
	}
	if id != "" {
		words = append(words, "id", id)
	}
	if len(e.Recipients) == 1 {
		words = append(words, "for", "<"+TracePath(e.Recipients[0].To)+">")
	}
	words[len(words)-1] += ";"
	words = append(words, now.Format(receivedDate))

	var b strings.Builder
	b.WriteString("Received:")
	column := len("Received:")
	for _, w := range words {
		if column+1+len(w) > foldAt {
			b.WriteString("\r\n\t")
			column = 8
		} else {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	b.WriteString("\r\n")
	return b.String()
}

// peer is the client's address as a domain literal (RFC 5321 §4.1.3).
func (e *Envelope) peer() string {
	if !e.RemoteIP.IsValid() {
		return "unknown"
	}
	if ip := e.RemoteIP.Unmap(); ip.Is6() {
		return "[IPv6:" + ip.WithZone("").String() + "]"
	}
	return "[" + e.RemoteIP.Unmap().String() + "]"
}

// TracePath is an address as it stands between the angle brackets of a trace
// field; "" for the null reverse-path. Parentheses are no comment in a quoted
// local part.
func TracePath(a message.Address) string { return strings.Map(noControl, a.String()) }

// clean keeps what strangers said from becoming structure: no line ends, no
// controls, no comment of its own. The parser of the dialogue lets none of
// them through; this is the second wall.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '(' || r == ')' || r == '\\' {
			return '?'
		}
		return noControl(r)
	}, s)
}

func noControl(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}
