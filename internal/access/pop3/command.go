package pop3

import (
	"context"
	"strings"
)

// command answers one command. What it may do depends on the state
// (RFC 1939 §4-6): AUTHORIZATION while drop is nil, then TRANSACTION; UPDATE
// is within QUIT.
func (s *session) command(ctx context.Context, keyword, args string) {
	known := true
	switch keyword {
	case "QUIT":
		s.bare(args, func() { s.quit(ctx) })
	case "CAPA":
		s.bare(args, s.capa)
	default:
		if s.drop == nil {
			s.strangerCommands++
			known = s.authorization(ctx, keyword, args)
		} else {
			known = s.transaction(ctx, keyword, strings.TrimSpace(args))
		}
	}
	if !known {
		keyword = "unknown"
	}
	status := "ok"
	if s.refused {
		status = "err"
	}
	s.srv.o.Metrics.commands.WithLabelValues(strings.ToLower(keyword), status).Inc()
}

// authorization answers a command of the AUTHORIZATION state; false if there
// is no such command.
func (s *session) authorization(ctx context.Context, keyword, args string) bool {
	switch keyword {
	case "USER":
		s.userName(args)
	case "PASS":
		s.pass(ctx, args)
	case "AUTH":
		s.auth(ctx, args)
	case "STLS":
		s.bare(args, func() { s.stls(ctx) })
	case "UTF8":
		s.bare(args, s.utf8Mode)
	case "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET":
		s.wrong("log in first")
	default:
		s.wrong("unknown command")
		return false
	}
	return true
}

// transaction answers a command of the TRANSACTION state; false if there is
// no such command.
func (s *session) transaction(ctx context.Context, keyword, args string) bool {
	switch keyword {
	case "STAT":
		s.bare(args, s.stat)
	case "LIST":
		s.list(args)
	case "UIDL":
		s.uidl(args)
	case "RETR":
		s.retr(ctx, args)
	case "TOP":
		s.top(ctx, args)
	case "DELE":
		s.dele(args)
	case "NOOP":
		s.bare(args, func() { s.ok("still here") })
	case "RSET":
		s.bare(args, s.rset)
	case "USER", "PASS", "AUTH", "STLS", "UTF8":
		s.wrong("already logged in")
	default:
		s.wrong("unknown command")
		return false
	}
	return true
}

// bare runs a command that takes no arguments.
func (s *session) bare(args string, run func()) {
	if strings.TrimSpace(args) != "" {
		s.wrong("this command takes no arguments")
		return
	}
	run()
}
