package smtp

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// ErrPath is wrapped by [ParsePath] when the brackets or the source route are
// wrong; other errors wrap message.ErrAddress or message.ErrDomain.
var ErrPath = errors.New("malformed path")

// ParsePath reads the path that b begins with, RFC 5321 §4.1.2: "<>", which
// is the zero Address; "<local@domain>"; "<postmaster>" in any case, which is
// an Address without a domain (§4.1.1.3). A source route is checked and
// ignored (appendix C). It returns what follows the ">".
//
// Lengths are bounded by the command line and by package message.
func ParsePath(b []byte) (message.Address, []byte, error) {
	if len(b) == 0 || b[0] != '<' {
		return message.Address{}, nil, fmt.Errorf("%w: no opening angle bracket", ErrPath)
	}
	end := pathEnd(b)
	if end < 0 {
		return message.Address{}, nil, fmt.Errorf("%w: no closing angle bracket", ErrPath)
	}
	in, rest := b[1:end], b[end+1:]
	if len(in) == 0 {
		return message.Address{}, rest, nil
	}
	if in[0] == '@' {
		colon := bytes.IndexByte(in, ':')
		if colon < 0 {
			return message.Address{}, nil, fmt.Errorf("%w: source route without end", ErrPath)
		}
		for hop := range bytes.SplitSeq(in[:colon], []byte{','}) {
			if len(hop) < 2 || hop[0] != '@' {
				return message.Address{}, nil, fmt.Errorf("%w: source route", ErrPath)
			}
			if _, err := message.ParseDomain(string(hop[1:])); err != nil {
				return message.Address{}, nil, fmt.Errorf("source route: %w", err)
			}
		}
		in = in[colon+1:]
	}
	if equalFold(in, "POSTMASTER") {
		return message.Address{Local: "postmaster"}, rest, nil
	}
	a, err := message.ParseAddress(string(in))
	return a, rest, err
}

// pathEnd finds the ">" that closes the path; one within a quoted local part
// does not count.
func pathEnd(b []byte) int {
	quoted := false
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return i
		}
	}
	return -1
}

// AppendPath appends the path of an address with its angle brackets.
func AppendPath(dst []byte, a message.Address) []byte {
	dst = append(dst, '<')
	if a.Domain == "" {
		dst = append(dst, a.Local...)
	} else {
		dst = append(dst, a.String()...)
	}
	return append(dst, '>')
}
