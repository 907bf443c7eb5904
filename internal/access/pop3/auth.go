package pop3

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// auth answers AUTH (RFC 5034 §4). Without a mechanism it lists them, as
// clients older than CAPA expect.
func (s *session) auth(ctx context.Context, args string) {
	if !s.secure() {
		return
	}
	mechanisms := sasl.Mechanisms(true)
	name, initial, hasInitial := strings.Cut(strings.TrimSpace(args), " ")
	if name == "" {
		s.ok("mechanisms")
		s.out.WriteString(strings.Join(mechanisms, "\r\n") + "\r\n.\r\n")
		return
	}
	name = strings.ToUpper(name)
	if !slices.Contains(mechanisms, name) {
		s.wrong("no such mechanism")
		return
	}
	state, _ := s.conn.ConnectionState()
	exchange, err := sasl.New(name, s.srv.accounts, &state)
	if err != nil {
		s.fault("auth", err)
		return
	}
	var response []byte
	if hasInitial {
		if response, err = sasl.DecodeResponse([]byte(initial)); err != nil {
			s.refuseLogin("", err)
			return
		}
	}
	if s.converse(ctx, exchange, response) {
		s.enter(ctx, exchange.Identity())
	}
}

// converse carries challenges and responses until the exchange is done; true
// if it ended in a login. Whatever line comes is a response, never a command.
func (s *session) converse(ctx context.Context, exchange sasl.Exchange, response []byte) bool {
	for {
		nctx, cancel := context.WithTimeout(ctx, loginTimeout)
		challenge, done, err := exchange.Next(nctx, response)
		cancel()
		if err != nil {
			s.refuseLogin("", err)
			return false
		}
		if done {
			return true
		}
		s.out.WriteString("+ ")
		s.out.Write(sasl.AppendChallenge(nil, challenge))
		s.out.WriteString("\r\n")
		line, err := s.read(ctx, saslOctetsMax)
		if errors.Is(err, errLineTooLong) {
			s.wrong("line too long")
			return false
		}
		if err != nil {
			s.over = s.lost(ctx, err)
			return false
		}
		if response, err = sasl.DecodeResponse([]byte(line)); err != nil {
			s.refuseLogin("", err)
			return false
		}
	}
}
