package delivery

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// attempt is one call of Carry.
type attempt struct {
	ctx      context.Context // of the one call
	d        *Delivery
	m        *fate.Message
	rcpt     []int
	outcomes []queue.Outcome // the State of one that is not decided is 0
	content  *content        // nil until it is needed
	repair   bool            // the message has bare CRs or LFs: it goes out downgraded, or not at all
	began    time.Time
	health   queue.Health
	why      string
	kept     []*conn // that go back to the pool when the outcomes are durable
}

// keep holds a connection that another attempt can use until what was sent on
// it is durable: a crash must not leave two messages of one connection open.
func (a *attempt) keep(c *conn) {
	if !c.c.Usable() {
		a.d.pool.put(c) // which closes it
		return
	}
	a.kept = append(a.kept, c)
}

// giveBack is the Done of the attempt's result.
func (a *attempt) giveBack() {
	for _, c := range a.kept {
		a.d.pool.put(c)
	}
	a.kept = nil
}

// group is those recipients of a job that go the same way.
type group struct {
	domain message.Domain
	hop    *Hop // nil: the domain's MX hosts
	bad    error
	left   []int // places in attempt.rcpt that are not decided
}

// groups sorts the recipients by where they go. There is one group unless an
// override or a route changed since the queue put them together.
func (a *attempt) groups() []*group {
	var all []*group
	type way struct {
		hop    *Hop
		domain message.Domain
		route  string
	}
	known := map[way]*group{}
	for i, at := range a.rcpt {
		r := &a.m.Recipients[at]
		w := way{domain: r.Address.Domain, route: r.Route}
		var bad error
		if r.Route != "" {
			w.hop, bad = a.d.routes.override(r.Route)
		} else {
			w.hop = a.d.routes.of(r.Address.Domain)
		}
		if w.hop != nil {
			w.domain = "" // one next hop, whatever the domain
			if w.route != "" {
				w.hop, w.route = a.same(all, w.hop), ""
			}
		}
		g := known[w]
		if g == nil {
			g = &group{domain: w.domain, hop: w.hop, bad: bad}
			known[w] = g
			all = append(all, g)
		}
		g.left = append(g.left, i)
	}
	return all
}

// same is the hop of a group if it is the one that h is.
func (a *attempt) same(all []*group, h *Hop) *Hop {
	for _, g := range all {
		if g.hop != nil && *g.hop == *h {
			return g.hop
		}
	}
	return h
}

// carry attempts one group.
func (a *attempt) carry(g *group) {
	var f *failure
	switch {
	case g.bad != nil:
		f = later("4.3.5", queue.Unknown, "The next hop that an operator named cannot be used (%s).", g.bad)
	case g.hop != nil:
		f = a.toHop(g)
	default:
		f = a.toDomain(g)
	}
	if f != nil {
		a.settle(g, f)
	}
}

// open opens the message, once.
func (a *attempt) open() *failure {
	if a.content != nil {
		return nil
	}
	b, err := a.d.bodies(a.ctx, a.m.LSN)
	if err != nil {
		return a.unreadable(err)
	}
	c, err := newContent(a.m, b)
	if err != nil {
		_ = b.Close() // only read from
		return a.unreadable(err)
	}
	a.content = c
	return nil
}

// unreadable is for a message that cannot be read here.
func (a *attempt) unreadable(err error) *failure {
	var damaged *journal.DamageError
	switch {
	case errors.As(err, &damaged):
		a.d.o.Log.Error("message is damaged, and set aside", telemetry.Env, a.m.ID, telemetry.LSN, a.m.LSN.String(), telemetry.Err, err)
		f := never("5.3.0", queue.Unknown, "The stored message is damaged.")
		f.state = fate.SetAside
		return f
	case a.ctx.Err() != nil:
		return interrupted()
	}
	a.d.o.Log.Error("message cannot be read", telemetry.Env, a.m.ID, telemetry.LSN, a.m.LSN.String(), telemetry.Err, err)
	return later("4.3.0", queue.Unknown, "The stored message cannot be read at the moment.")
}

func (a *attempt) close() {
	if a.content != nil {
		_ = a.content.body.Close() // only read from
	}
}

// settle decides about all that are left of a group.
func (a *attempt) settle(g *group, f *failure) {
	for _, i := range g.left {
		a.outcomes[i] = f.outcome()
	}
	g.left = nil
	a.feel(f.health, f.reason)
}

// feel notes what a destination is like. That it took a message from us counts
// for more than what went wrong besides.
func (a *attempt) feel(h queue.Health, why string) {
	if h == queue.Unknown || a.health == queue.Up {
		return
	}
	if a.health, a.why = h, cut(why, fate.ReasonMax); h == queue.Up {
		a.why = ""
	}
}

// result counts the outcomes.
func (a *attempt) result() queue.Result {
	for i := range a.outcomes {
		o := outcomeDeferred
		switch a.outcomes[i].State {
		case fate.Relayed:
			o = outcomeRelayed
		case fate.Delivered:
			o = outcomeDelivered
		case fate.Bounced:
			o = outcomeBounced
		case fate.SetAside:
			o = outcomeSetAside
		}
		a.d.o.Metrics.recipients[o].Inc()
	}
	return queue.Result{Outcomes: a.outcomes, Health: a.health, Why: a.why}
}

// toHop attempts a next hop.
func (a *attempt) toHop(g *group) *failure {
	if g.hop.Socket != "" {
		p := peer{host: "localhost", hop: g.hop, policy: a.d.policies.Route("localhost", tlspolicy.Opportunistic), wait: a.d.o.Times.Connect}
		return a.toPeer(g, &p)
	}
	policy := a.d.policies.Route(g.hop.Host, g.hop.level())
	p := peer{host: g.hop.Host, hop: g.hop, policy: policy}
	if a.m.RequireTLS {
		if f := p.require(); f != nil {
			return f
		}
	}
	addrs, f := a.d.addresses(a.ctx, g.hop.Host)
	if f != nil && f.last {
		return f // there was no time to look
	}
	if f != nil {
		f.state, f.health = fate.Deferred, queue.Down // a name that the operator gave will be mended
		if f.status[0] == '5' {
			f.status = "4" + f.status[1:]
		}
		return f
	}
	return a.toAddresses(g, &p, addrs, g.hop.port(), new(int))
}

// require holds the peer to REQUIRETLS, RFC 8689 §4.2.1.
func (p *peer) require() *failure {
	strict, f := p.policy.RequireTLS()
	if f != nil {
		return never("5.7.30", queue.Up, "The message demands TLS all the way, and that cannot be had with %s (%s).", p.host, f)
	}
	p.alone = !p.policy.Must()
	p.policy, p.strict = strict, true
	return nil
}

// insecure is for a host that does not do TLS as it has to. Where a message
// alone demands that, the host is as good as ever for the others, and the
// message goes back (RFC 8689 §4.2.1).
func (p *peer) insecure(status smtp.EnhancedCode, format string, args ...any) *failure {
	if p.alone {
		return never("5.7.10", queue.Up, "The message demands TLS all the way. "+format, args...)
	}
	return later(status, queue.Down, format, args...)
}

// toDomain attempts a domain's MX hosts, or the address of a literal.
func (a *attempt) toDomain(g *group) *failure {
	if addr, ok := g.domain.Literal(); ok { // RFC 5321 §4.1.3
		return a.toLiteral(g, addr)
	}
	x, f := a.d.exchangers(a.ctx, g.domain)
	if f != nil {
		return f
	}
	decision, err := a.d.policies.For(a.ctx, x.mx)
	if err != nil {
		if a.ctx.Err() != nil {
			return interrupted()
		}
		return later("4.7.5", queue.Down, "It cannot be found out how mail for %s has to be secured (%s).", g.domain, err)
	}
	tried, end := 0, len(x.hosts)
	for _, i := range a.d.heard(x.hosts) {
		if i > end {
			continue
		}
		host := x.hosts[i]
		more := a.toHost(g, decision, host, &tried)
		if more != nil && more.silent() {
			a.d.deaf.note(host, a.d.o.Clock.Now())
		} else {
			a.d.deaf.forget(host)
		}
		if more == nil || more.last || a.ctx.Err() != nil {
			return more
		}
		f = sooner(f, more)
		if more.us { // none after it in their order may be tried (RFC 5321 §5.1)
			end = i
		}
		if tried >= addrsMax || a.took() > searchMax {
			break
		}
	}
	return f
}

// toLiteral attempts "user@[192.0.2.1]".
func (a *attempt) toLiteral(g *group, addr netip.Addr) *failure {
	switch {
	case a.d.self(addr):
		return never("5.4.6", queue.Unknown, "The address %s is one of this host, but mail for it is not.", addr)
	case a.d.o.forbidden(addr):
		a.d.o.Metrics.forbidden.Inc()
		return never("5.4.4", queue.Unknown, "The address %s is private or special, and mail is not sent there.", addr)
	}
	p := peer{host: string(g.domain), policy: a.d.policies.Route(addr.String(), tlspolicy.Opportunistic)}
	if a.m.RequireTLS {
		if f := p.require(); f != nil {
			return f
		}
	}
	return a.toAddresses(g, &p, []netip.Addr{addr}, a.d.o.Port, new(int))
}

// toHost attempts one MX host; nil if all recipients are decided.
func (a *attempt) toHost(g *group, decision *tlspolicy.Decision, host string, tried *int) *failure {
	policy, err := decision.Host(a.ctx, host)
	var refused *tlspolicy.Failure
	switch {
	case err != nil && !errors.As(err, &refused):
		return interrupted()
	case a.m.TLSOptional && !a.m.RequireTLS:
		if refused != nil {
			policy = refused.Policy
		}
		policy = policy.Waive(refused)
	case refused != nil:
		if a.d.o.Observe != nil {
			a.d.o.Observe(tlspolicy.Session{Policy: refused.Policy, Failure: refused})
		}
		return later("4.7.5", queue.Down, "The host %s must not be used (%s).", host, refused).at(host, "")
	}
	p := peer{host: host, policy: policy, report: a.m.TLSOptional && a.m.Source == fate.System}
	if a.m.RequireTLS {
		if f := p.require(); f != nil {
			return f.at(host, "")
		}
	}
	addrs, f := a.d.addresses(a.ctx, host)
	if f != nil {
		return f.at(host, "")
	}
	allowed := addrs[:0]
	for _, addr := range addrs {
		switch {
		case a.d.self(addr):
			f := never("5.4.6", queue.Up, "Mail for %s would come back to this host: its MX host %s has an address of ours, but the domain is not one of ours.", g.domain, host)
			f.us = true
			return f.at(host, "")
		case a.d.o.forbidden(addr):
			a.d.o.Metrics.forbidden.Inc()
			f = never("5.4.4", queue.Up, "The MX host %s of %s has the address %s, which is private or special: mail is not sent there.", host, g.domain, addr).at(host, "")
		default:
			allowed = append(allowed, addr)
		}
	}
	if len(allowed) == 0 {
		return f
	}
	return a.toAddresses(g, &p, allowed, a.d.o.Port, tried)
}

// toAddresses attempts the addresses of one host; nil if all recipients are
// decided.
func (a *attempt) toAddresses(g *group, p *peer, addrs []netip.Addr, port uint16, tried *int) *failure {
	var f *failure
	addrs = a.d.likely(p, addrs, port)
	for i, addr := range addrs {
		if *tried++; *tried > addrsMax || a.took() > searchMax {
			break
		}
		p.addr, p.wait = netip.AddrPortFrom(addr.Unmap(), port), a.d.o.Times.Connect
		if i+1 < len(addrs) && addrs[i+1].Is4() != addr.Is4() {
			p.wait = min(p.wait, connectFirst)
		}
		more := a.toPeer(g, p)
		if more == nil || more.last || more.us || a.ctx.Err() != nil {
			return more
		}
		f = sooner(f, more)
	}
	if f == nil {
		f = later("4.4.1", queue.Down, "No address of the host %s could be tried any more.", p.host)
	}
	return f
}

// took is for how long the attempt has been under way.
func (a *attempt) took() time.Duration { return a.d.o.Clock.Now().Sub(a.began) }
