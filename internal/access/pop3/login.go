package pop3

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// secure refuses a login without TLS (RFC 8314 §3).
func (s *session) secure() bool {
	if !s.tls {
		s.wrong("no login in the clear: STLS first")
	}
	return s.tls
}

// userName answers USER (RFC 1939 §7). Whether there is such a user is not said.
func (s *session) userName(name string) {
	if !s.secure() {
		return
	}
	if name == "" {
		s.wrong("USER needs a name")
		return
	}
	s.user = name
	s.ok("and the password")
}

// pass answers PASS (RFC 1939 §7). The password is all behind the one space.
func (s *session) pass(ctx context.Context, password string) {
	if !s.secure() {
		return
	}
	name := s.user
	s.user = ""
	if name == "" {
		s.wrong("USER first")
		return
	}
	if !acceptable(name, sasl.MaxName) || !acceptable(password, sasl.MaxPassword) {
		s.refuseLogin(name, sasl.ErrCredentials) // nobody can have these
		return
	}
	lctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	id, err := s.srv.accounts.Password(lctx, name, password)
	if err != nil {
		s.refuseLogin(name, err)
		return
	}
	s.enter(ctx, id)
}

// acceptable tells whether a name or password is one that the backend takes:
// UTF-8 (RFC 6856 §2.2), without NUL, of at most max octets.
func acceptable(s string, max int) bool {
	return s != "" && len(s) <= max && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// refuseLogin says why nobody was logged in: credentials are wrong, the
// exchange was, or the host cannot tell (RFC 3206 §4). Only the first two
// count against the client.
func (s *session) refuseLogin(name string, err error) {
	logins := s.srv.o.Metrics.logins
	switch {
	case errors.Is(err, sasl.ErrCredentials):
		logins.WithLabelValues("refused").Inc()
		s.refusedLogins++
		s.refuse("AUTH", "wrong name or password")
		s.log.Info("login refused", telemetry.User, name, telemetry.Err, err)
		s.tellLogin(false)
	case errors.Is(err, sasl.ErrMalformed):
		s.wrong("malformed response")
	case errors.Is(err, sasl.ErrCancelled):
		s.refuse("", "cancelled")
	default:
		logins.WithLabelValues("fault").Inc()
		s.fault("login", err)
	}
}

// enter takes the account's drop-box, if no other session has it, and begins
// the TRANSACTION state (RFC 1939 §4).
func (s *session) enter(ctx context.Context, id sasl.Identity) {
	logins := s.srv.o.Metrics.logins
	if !s.srv.lock(id.Account) {
		logins.WithLabelValues("in_use").Inc()
		s.refuse("IN-USE", "another session has the drop-box")
		return
	}
	drop, err := s.srv.drops.open(ctx, id.Account)
	if err != nil {
		s.srv.unlock(id.Account)
		logins.WithLabelValues("fault").Inc()
		s.fault("login", err)
		return
	}
	s.drop, s.acct = drop, id.Account
	for i := range drop.messages {
		s.totalSize += int64(drop.messages[i].Size)
	}
	logins.WithLabelValues("ok").Inc()
	s.log = s.log.With(telemetry.User, id.Address.String())
	s.log.Info("login", telemetry.Count, len(drop.messages))
	s.tellLogin(true)
	s.ok("%d messages (%d octets)", len(drop.messages), s.totalSize)
}
