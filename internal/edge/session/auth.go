package session

import (
	"context"
	"errors"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// auth takes one step of a SASL exchange, RFC 4954.
func (n *session) auth(ctx context.Context, a smtp.Action) smtp.Event {
	work, cancel := context.WithTimeout(n.work, n.s.o.Login)
	defer cancel()
	err := n.authBegin(a)
	if err == nil {
		var challenge []byte
		var done bool
		challenge, done, err = n.exch.Next(work, a.Data)
		switch {
		case err == nil && !done:
			return smtp.Event{Kind: smtp.EventChallenge, Data: challenge}
		case err == nil:
			n.id = n.exch.Identity()
			n.exch = nil
			n.loggedIn()
			return smtp.Event{Kind: smtp.EventProceed}
		}
	}
	n.exch = nil
	return n.authFailed(ctx, err)
}

// loggedIn makes the session the user's: on port 25 too it is submission from
// now on.
func (n *session) loggedIn() {
	n.tally.Logins++
	if n.s.o.Kind == MX {
		n.kind = Submission
		n.room = n.s.o.Users
		n.metrics.sessions.Dec()
		n.metrics = n.s.o.UserMetrics
		n.metrics.sessions.Inc()
		n.metrics.began.Inc()
	}
	n.metrics.logins[loginOK].Inc()
	n.logLogin()
	n.s.toldLogin(n.c.RemoteIP(), true)
}

func (s *Server) toldLogin(ip netip.Addr, ok bool) {
	if s.o.OnLogin != nil {
		s.o.OnLogin(ip, ok)
	}
}

// errNoExchange says that the exchange was begun elsewhere, before a
// hand-over.
var errNoExchange = errors.New("the exchange was not carried over")

func (n *session) authBegin(a smtp.Action) (err error) {
	if a.Mechanism == "" {
		if n.exch == nil {
			return errNoExchange
		}
		return nil
	}
	cs, ok := n.c.ConnectionState()
	if !ok {
		return sasl.ErrNoTLS
	}
	n.exch, err = sasl.New(a.Mechanism, n.s.backend, &cs)
	return err
}

// authFailed answers a login that failed. A wrong password costs the guesser
// time, more with each; a fault of ours costs nobody anything.
func (n *session) authFailed(ctx context.Context, err error) smtp.Event {
	r := &smtp.Reply{Code: 454, Enhanced: "4.7.0", Text: "Temporary authentication failure"}
	outcome := loginFault
	switch {
	case errors.Is(err, sasl.ErrCredentials):
		r = &smtp.Reply{Code: 535, Enhanced: "5.7.8", Text: "Authentication credentials invalid"}
		outcome = loginFailed
	case errors.Is(err, sasl.ErrMalformed):
		r = &smtp.Reply{Code: 501, Enhanced: "5.5.2", Text: "Malformed authentication response"}
		outcome = loginMalformed
	case errors.Is(err, sasl.ErrCancelled):
		r = &smtp.Reply{Code: 501, Enhanced: "5.7.0", Text: "Authentication cancelled"}
		outcome = loginCancelled
	}
	n.metrics.logins[outcome].Inc()
	if outcome == loginFault {
		n.metrics.faults.Inc()
	}
	n.logLoginFailed(r, err)
	if outcome == loginFailed {
		n.tally.LoginsFailed++
		n.s.toldLogin(n.c.RemoteIP(), false)
		select {
		case <-n.s.o.Clock.After(failureDelay << n.fails):
		case <-ctx.Done():
		}
		n.fails++
	}
	return smtp.Event{Kind: smtp.EventRefuse, Reply: r}
}
