package imap

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// saslStepsMax bounds the steps of one exchange; SCRAM has three.
const saslStepsMax = 6

// authenticate answers AUTHENTICATE (RFC 9051 §6.2.2, RFC 4959).
func (s *session) authenticate(ctx context.Context, v command.Authenticate) answer {
	if a, may := s.mayLogIn(); !may {
		return a
	}
	cs, _ := s.conn.ConnectionState()
	x, err := sasl.New(v.Mechanism, s.srv.accounts, &cs)
	if err != nil {
		return s.refused(ctx, err)
	}
	response := v.Initial
	for range saslStepsMax {
		actx, cancel := context.WithTimeout(ctx, authWait)
		challenge, done, err := x.Next(actx, response)
		cancel()
		if err != nil {
			return s.refused(ctx, err)
		}
		if done && len(challenge) == 0 {
			return s.welcome(ctx, x.Identity())
		}
		// A challenge that comes with success needs a line of its own: IMAP
		// has no place for it in the tagged response.
		b := append(s.link.buf(), "+ "...)
		b = base64.StdEncoding.AppendEncode(b, challenge)
		s.link.put(append(b, '\r', '\n'))
		if response, err = s.readResponse(); err != nil {
			if s.link.err != nil || s.over != "" {
				return answer{}
			}
			return s.refused(ctx, err)
		}
		if done {
			return s.welcome(ctx, x.Identity())
		}
	}
	return s.refused(ctx, fmt.Errorf("%w: too many steps", sasl.ErrMalformed))
}

// readResponse reads one base64 response. If there is none to be had the
// session is over.
func (s *session) readResponse() ([]byte, error) {
	line, err := s.link.readLine(nil, sasl.MaxLine+2)
	if err != nil {
		s.lost(err)
		return nil, err
	}
	n := len(line) - 1
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	line = line[:n]
	if len(line) == 1 && line[0] == '*' {
		return nil, sasl.ErrCancelled
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err = base64.StdEncoding.Strict().Decode(out, line)
	if err != nil {
		return nil, fmt.Errorf("%w: base64", sasl.ErrMalformed)
	}
	return out[:n], nil
}
