package imap

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// login answers LOGIN (RFC 9051 §6.2.3).
func (s *session) login(ctx context.Context, v command.Login) answer {
	if a, may := s.mayLogIn(); !may {
		return a
	}
	switch {
	case v.User == "" || v.Password == "",
		len(v.User) > sasl.MaxName || len(v.Password) > sasl.MaxPassword,
		!utf8.ValidString(v.User) || !utf8.ValidString(v.Password):
		return s.refused(ctx, sasl.ErrCredentials)
	}
	actx, cancel := context.WithTimeout(ctx, authWait)
	defer cancel()
	id, err := s.srv.accounts.Password(actx, v.User, v.Password)
	if err != nil {
		return s.refused(ctx, err)
	}
	return s.welcome(ctx, id)
}

// mayLogIn says whether a login may be tried now.
func (s *session) mayLogIn() (answer, bool) {
	switch {
	case s.loggedIn:
		return bad("Logged in already"), false
	case !s.secure:
		// RFC 9051 §6.2.3: no password in the clear, and no answer about one.
		return no("PRIVACYREQUIRED", "Use STARTTLS first"), false
	}
	return answer{}, true
}

// refused answers a login that failed. Only wrong credentials are said to be
// wrong, and only they cost: a fault behind the check is UNAVAILABLE (RFC 5530
// §3), counts against nobody and comes at once.
func (s *session) refused(ctx context.Context, err error) answer {
	m := s.srv.o.Metrics.logins
	switch {
	case errors.Is(err, sasl.ErrCancelled):
		m.WithLabelValues("malformed").Inc()
		return bad("Authentication cancelled")
	case errors.Is(err, sasl.ErrMalformed):
		m.WithLabelValues("malformed").Inc()
		return bad("Malformed authentication response")
	case errors.Is(err, sasl.ErrMechanism):
		return no("CANNOT", "Mechanism is not offered")
	case !errors.Is(err, sasl.ErrCredentials):
		m.WithLabelValues("fault").Inc()
		s.log.Error("login cannot be checked", telemetry.Err, err)
		return no("UNAVAILABLE", "Logins cannot be checked now, please try later")
	}
	m.WithLabelValues("refused").Inc()
	s.log.Info("login refused", telemetry.Reason, "credentials")
	s.tellLogin(false)
	s.pause(ctx, failureDelay<<s.failures)
	s.failures++
	return no("AUTHENTICATIONFAILED", "Wrong user name or password")
}

// welcome opens the account to the session.
func (s *session) welcome(ctx context.Context, id sasl.Identity) answer {
	if !s.srv.enter(id.Account) {
		s.srv.o.Metrics.logins.WithLabelValues("limit").Inc()
		return no("LIMIT", "Too many sessions of this account")
	}
	s.loggedIn, s.id = true, id
	s.log = s.log.With(telemetry.User, id.Address.String())
	s.srv.o.Metrics.logins.WithLabelValues("ok").Inc()
	s.log.Info("login")
	s.tellLogin(true)
	s.link.endBy = time.Time{}
	s.link.readWait = s.srv.o.IdleTimeout
	s.provision(ctx)
	return okCode(s.capabilities(), "Logged in")
}

// provision gives an account that has no INBOX its first mailboxes. A fault is
// no reason to refuse the login: SELECT will say what it is.
func (s *session) provision(ctx context.Context) {
	cctx, cancel := changeCtx(ctx)
	defer cancel()
	_, err := s.srv.boxes.Lookup(cctx, s.account(), "INBOX")
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		err = s.srv.boxes.Provision(cctx, s.account())
	}
	if err != nil {
		s.log.Error("mailboxes are not there", telemetry.Err, err)
	}
}
