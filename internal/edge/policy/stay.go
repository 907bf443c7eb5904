package policy

import (
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Recipient counts a recipient of a handed-over session. It returns nil, or
// the reply that asks the sender to slow down.
func (p *Policy) Recipient(g *Guest, now time.Time) *smtp.Reply {
	r, a := p.rules.Load(), g.Addr.Unmap()
	if _, ok := r.allow.find(a); ok {
		return nil
	}
	factor := 1
	if g.Known {
		factor = r.KnownFactor
	}
	o, what := p.limited(r, g, a, now, factor, false)
	if what == "" {
		return nil
	}
	p.metrics.slowed.WithLabelValues(what).Inc()
	if r.inShadow(CheckRate) {
		return nil
	}
	return slower(o, what)
}

// limited finds the rate that a guest's next recipient would break, and counts
// the recipient if there is none, unless it shall only look.
func (p *Policy) limited(r *rules, g *Guest, a netip.Addr, now time.Time, factor int, peek bool) (over, string) {
	helo := heloDomain(g.Helo)
	keys := p.rates.keys(rateUnknown, &r.Rates.Unknown, a, helo, factor)
	if o, full := p.rates.peek(&keys, now); full {
		return o, "unknown recipients"
	}
	keys = p.rates.keys(rateMessages, &r.Rates.Messages, a, helo, factor)
	if o, full := p.rates.peek(&keys, now); full {
		return o, "messages"
	}
	keys = p.rates.keys(rateRecipients, &r.Rates.Recipients, a, helo, factor)
	if o, full := p.rates.ask(&keys, now, peek); full {
		return o, "recipients"
	}
	return over{}, ""
}

// RecipientRefused counts a recipient that does not exist.
func (p *Policy) RecipientRefused(g *Guest) {
	r, a := p.rules.Load(), g.Addr.Unmap()
	if _, ok := r.allow.find(a); ok {
		return
	}
	factor := 1
	if g.Known {
		factor = r.KnownFactor
	}
	keys := p.rates.keys(rateUnknown, &r.Rates.Unknown, a, heloDomain(g.Helo), factor)
	p.rates.count(&keys, p.clock())
}

// Accepted notes that a message of a session was accepted: its sender has
// passed, and what the checks thought of it can be judged.
func (p *Policy) Accepted(g *Guest, now time.Time) {
	r, a := p.rules.Load(), g.Addr.Unmap()
	if _, ok := r.allow.find(a); !ok {
		factor := 1
		if g.Known {
			factor = r.KnownFactor
		}
		keys := p.rates.keys(rateMessages, &r.Rates.Messages, a, heloDomain(g.Helo), factor)
		p.rates.count(&keys, now)
		if p.parts.Greylist != nil {
			p.parts.Greylist.Accepted(p.sender(g), now)
		}
	}
	p.shadow.good(g, p.passed.take(p.hash.text(0, g.ID)))
	p.metrics.accepted.Inc()
	p.top.accepted(now)
	p.history.accepted(g, now)
}

// Left notes that a guest has gone without having been handed over, what it
// has cost, and whether it is to be banned: never before a refusal.
func (p *Policy) Left(g *Guest) {
	now, a := g.Now, g.Addr.Unmap()
	if now.IsZero() {
		now = p.clock()
	}
	if !g.Known && !p.passed.has(p.hash.text(0, g.ID)) {
		p.rise(a, now)
	}
	p.top.spent(networkKey(a), g.Octets, g.CPU, g.Questions)
	p.metrics.left(g.Ended)
	p.history.left(g, now)
	if !g.Refused || p.exempt(a, now) {
		return
	}
	r := p.rules.Load()
	n := p.refusals.add(p.hash.offends(a), now)
	switch {
	case r.Bans.Loiterers && g.Ended == EndedTimeout:
		p.ban(a, now, banLoiterer, "stayed until the time limit after its refusal")
	case r.Bans.Refusals > 0 && n >= r.Bans.Refusals:
		p.ban(a, now, banRefusals, "refused in "+plural(n, "session")+" within "+inWords(p.refusals.window))
	}
}

// Who is banned, as labels of metrics.
const (
	banRefusals = "refusals"
	banLoiterer = "loiterer"
	banGuesser  = "guesser"
)

func (p *Policy) ban(a netip.Addr, now time.Time, label, why string) {
	if p.parts.Bans == nil {
		return
	}
	p.metrics.bans.WithLabelValues(label).Inc()
	p.log.Info("banned", slog.String(telemetry.RemoteIP, a.String()), slog.String(telemetry.Reason, why))
	p.parts.Bans.Ban(a, p.bannable(a, now), why)
}

// exempt tells whether an address is never banned.
func (p *Policy) exempt(a netip.Addr, now time.Time) bool {
	if p.Allowed(a) {
		return true
	}
	return p.logins.get(p.hash.addr(0, a), now) > 0
}

// Allowed tells whether an address is in Options.Allow.
func (p *Policy) Allowed(a netip.Addr) bool {
	_, ok := p.rules.Load().allow.find(a)
	return ok
}

// LoginFailed counts a wrong password, which the client has been told of.
func (p *Policy) LoginFailed(a netip.Addr) {
	a = a.Unmap()
	now, r := p.clock(), p.rules.Load()
	if p.exempt(a, now) {
		return
	}
	n := p.guesses.add(p.hash.offends(a), now)
	if r.Bans.Guesses > 0 && n >= r.Bans.Guesses {
		p.ban(a, now, banGuesser, plural(n, "failed login")+" within "+inWords(p.guesses.window))
	}
}

// LoginOK notes a login, which exempts the address from bans for a day.
func (p *Policy) LoginOK(a netip.Addr) {
	a = a.Unmap()
	key, now := p.hash.addr(0, a), p.clock()
	p.logins.forget(key) // its day begins anew
	p.logins.add(key, now)
	p.guesses.forget(p.hash.offends(a))
	if p.parts.Bans != nil {
		p.parts.Bans.Authenticated(a)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
