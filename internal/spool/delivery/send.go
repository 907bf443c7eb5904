package delivery

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// toPeer attempts one address of one host: as many transactions as the
// recipients need, on as many connections as that takes. It returns nil if all
// recipients are decided, else why another address has to be tried.
func (a *attempt) toPeer(g *group, p *peer) *failure {
	if f := a.d.pool.enter(a.ctx, p.gate()); f != nil {
		return f
	}
	defer a.d.pool.leave(p.gate())
	fresh := false
	for {
		before, repair := len(g.left), a.repair
		c, f := a.d.connect(a.ctx, p, fresh)
		if f != nil {
			return f
		}
		stale, f := a.onConn(g, p, c)
		a.keep(c)
		switch {
		case f != nil:
			return f
		case len(g.left) == 0:
			return nil
		case stale:
			a.d.o.Metrics.connections[wayStale].Inc()
			fresh = true // nothing was said on it: it does not count
		case len(g.left) == before && a.repair == repair:
			return later("4.4.2", queue.Busy, "The host ends each session before it takes a message.").at(p.via(), "")
		}
	}
}

// onConn sends transactions over a connection until nothing is left or it
// cannot go on. stale: it was reused, and gone before anything was said.
func (a *attempt) onConn(g *group, p *peer, c *conn) (stale bool, f *failure) {
	if f := a.open(); f != nil {
		a.settle(g, f)
	}
	for len(g.left) > 0 {
		if a.took() > attemptMax {
			f := later("4.4.2", queue.Busy, "The host is so slow that the recipients who are left have to wait for another attempt.").at(c.via, c.tls)
			f.retry, f.last = busyRetry, true
			return false, f
		}
		t := &transaction{a: a, g: g, p: p, c: c}
		if f := t.prepare(); f != nil {
			return false, f
		}
		if len(t.at) == 0 {
			continue // decided without asking
		}
		again, f := t.send()
		if again || f != nil || !c.c.Usable() {
			return again && c.reused, f
		}
		c.reused = true // it may take one message and go
	}
	return false, nil
}

// transaction is one message to some recipients with the same sender.
type transaction struct {
	a    *attempt
	g    *group
	p    *peer
	c    *conn
	at   []int // places in attempt.rcpt
	e    smtp.Envelope
	body body
}

// prepare chooses the recipients and looks whether the host can take the
// message; where it cannot, it decides about them. A failure means that
// another host may be able to.
func (t *transaction) prepare() *failure {
	a, x := t.a, t.c.c.Extensions()
	t.choose(x)
	t.e.Ret, t.e.EnvID, t.e.Body, t.e.RequireTLS = a.m.Ret, a.m.EnvID, a.m.Body, a.m.RequireTLS
	t.body = a.content.reader()
	if a.m.RequireTLS && !x.RequireTLS && !t.p.local() { // RFC 8689 §4.4: whoever serves the mailbox sees to it
		return never("5.7.30", queue.Up, "The message demands TLS all the way, and %s does not offer REQUIRETLS.", t.p.host).at(t.c.via, t.c.tls)
	}
	if f := t.fit(x); f != nil {
		t.decide(f.at(t.c.via, t.c.tls))
		return nil
	}
	t.e.Size = int64(t.body.Len())
	for i := range t.e.Recipients {
		if r := &t.e.Recipients[i]; !t.e.UTF8 && !ascii(r.Orcpt) {
			r.Orcpt = "" // RFC 6533 §3: it stands in a dialogue with SMTPUTF8 only
		}
	}
	if x.SizeMax > 0 && t.e.Size > x.SizeMax { // RFC 1870 §6.1
		t.decide(never("5.3.4", queue.Up, "The message has %d octets, and the host takes no more than %d.", t.e.Size, x.SizeMax).at(t.c.via, t.c.tls))
	}
	return nil
}

// choose takes the next recipients with the same sender, as many as go into
// one transaction; with a host that takes no SMTPUTF8, those that need it have
// one of their own, in which the others do not fail.
func (t *transaction) choose(x smtp.Extensions) {
	a := t.a
	most := rcptMax
	if x.RecipientMax > 0 {
		most = min(most, x.RecipientMax)
	}
	t.e.From = a.sender(t.g.left[0])
	to := func(i int) message.Address { return a.m.Recipients[a.rcpt[i]].Address }
	plain := to(t.g.left[0]).ASCII()
	for _, i := range t.g.left {
		if len(t.at) == most {
			break
		}
		if a.sender(i) != t.e.From || !x.SMTPUTF8 && to(i).ASCII() != plain {
			continue
		}
		r := &a.m.Recipients[a.rcpt[i]]
		to := smtp.Recipient{To: r.Address, Notify: r.Notify, Orcpt: r.Orcpt}
		if to.Orcpt == "" && !r.Rcpt.IsZero() && r.Rcpt.ASCII() {
			to.Orcpt = original(r.Rcpt) // RFC 3461 §4.2: what the sender knows it by
		}
		t.at = append(t.at, i)
		t.e.Recipients = append(t.e.Recipients, to)
	}
}

func (a *attempt) sender(i int) message.Address {
	if s := a.m.Recipients[a.rcpt[i]].Sender; !s.IsZero() {
		return s
	}
	return a.m.From
}

func original(to message.Address) string {
	s := string(smtp.AppendXtext([]byte("rfc822;"), to.String()))
	if len(s) > smtp.OrcptMax {
		return ""
	}
	return s
}

// fit makes the message one that the host takes.
func (t *transaction) fit(x smtp.Extensions) *failure {
	a := t.a
	utf8 := a.m.UTF8 || !t.ascii()
	if !x.EightBitMIME || a.m.Body == smtp.BodyUnstated || utf8 && !x.SMTPUTF8 {
		if err := a.content.scan(); err != nil {
			return a.unreadable(err)
		}
	}
	switch {
	case utf8 && x.SMTPUTF8:
		t.e.UTF8 = true
	case !t.ascii() || utf8 && a.content.eightIn: // RFC 6531 §3.2
		return never("5.6.7", queue.Up, "The message needs internationalised addresses or headers (SMTPUTF8), which the host does not take.")
	}
	if a.m.Body == smtp.BodyUnstated && a.content.eight {
		t.e.Body = smtp.Body8BitMIME
	}
	eight := !x.EightBitMIME && a.content.eight // RFC 6152 §3
	if !eight && !a.repair {
		return nil
	}
	b, err := a.content.downgraded()
	switch {
	case err == nil:
		t.body, t.e.Body = b, smtp.Body7Bit
		return nil
	case !errors.Is(err, message.ErrDowngrade):
		return a.unreadable(err)
	case eight:
		return never("5.6.3", queue.Up, "The message has 8-bit content, which the host does not take, and cannot be converted.")
	}
	return never("5.6.0", queue.Up, "The message has a CR or LF that ends no line, and cannot be converted.")
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// ascii reports whether the addresses need no SMTPUTF8.
func (t *transaction) ascii() bool {
	if !t.e.From.ASCII() {
		return false
	}
	for i := range t.e.Recipients {
		if !t.e.Recipients[i].To.ASCII() {
			return false
		}
	}
	return true
}

// send sends the message. again says that the connection was reused and has
// gone before anything was said, or that the message has to be repaired. A
// failure means that another host may be asked.
func (t *transaction) send() (again bool, f *failure) {
	a, c := t.a, t.c
	rc, err := c.c.Send(a.ctx, &t.e, t.body)
	t.closeBody()
	c.messages++
	t.judge(&rc)
	if len(t.at) == 0 {
		return false, nil
	}
	var r *smtp.Reply
	switch {
	case rc.Ended:
		// It may have taken the message. To send it again at once would make
		// two of one; later it does so at worst once.
		f := later("4.4.2", queue.Busy, "The connection was lost after the message had been sent and before the answer came: the recipient may get it twice.")
		if errors.As(err, &r) {
			f.reply = r
		}
		t.decide(f.at(c.via, c.tls))
	case errors.Is(err, smtp.ErrBody) && !a.repair:
		a.repair = true
		return true, nil
	case errors.As(err, &r) && r.Code == 421 && !(c.reused && rc.Sender.Code == 0 && a.ctx.Err() == nil):
		t.decide(refusedBy(r, queue.Busy, "The host ended the session.").at(c.via, c.tls))
	case errors.Is(err, smtp.ErrArgument): // nothing was sent
		t.decide(never("5.1.3", queue.Unknown, "An address has a control character in it.").at(c.via, c.tls))
	case errors.Is(err, smtp.ErrBodyRead):
		t.decide(a.unreadable(err))
	case a.ctx.Err() != nil:
		t.decide(interrupted())
	case rc.Sender.Code == 0 && c.reused:
		return true, nil
	case rc.Sender.Code == 0:
		return false, lost(a.ctx, err, "the transaction began").at(c.via, c.tls)
	case err != nil:
		f := lost(a.ctx, err, "the message was on its way").at(c.via, c.tls)
		f.health = queue.Busy
		t.decide(f)
	}
	return false, nil
}

// decide says the same of all recipients of the transaction.
func (t *transaction) decide(f *failure) {
	for _, i := range t.at {
		t.a.outcomes[i] = f.outcome()
	}
	t.decided(t.at)
	t.at = nil
	t.a.feel(f.health, f.reason)
	t.closeBody()
}

// decided takes recipients off the list of those that are left.
func (t *transaction) decided(at []int) {
	t.g.left = slices.DeleteFunc(t.g.left, func(i int) bool { return slices.Contains(at, i) })
}

func (t *transaction) closeBody() {
	if p, ok := t.body.(io.Closer); ok {
		_ = p.Close() // it only makes octets
	}
}

// judge decides about those recipients of which the host has spoken. Those
// that were too many for it stay for another transaction, if this one brought
// something.
func (t *transaction) judge(rc *smtp.Receipt) {
	var decided, open []int
	accepted := 0
	for k := range t.at {
		if v := rc.Verdict(k); v != nil && v.Code/100 == 2 {
			accepted++
		}
	}
	for k, i := range t.at {
		v := rc.Verdict(k)
		switch {
		case v == nil:
			open = append(open, i)
			continue
		case v.Code/100 == 2:
			t.a.outcomes[i] = t.taken(v)
		case accepted > 0 && k < len(rc.Recipients) && tooMany(&rc.Recipients[k]):
			continue // and is left
		default:
			f := t.refused(rc, k, v)
			t.a.outcomes[i] = f.outcome()
			t.a.feel(f.health, f.reason)
		}
		decided = append(decided, i)
	}
	if accepted > 0 {
		t.a.feel(queue.Up, "")
		t.a.d.o.Metrics.octets.Add(float64(t.e.Size))
	}
	t.decided(decided)
	t.at = open
}

// taken is for a recipient that the host has taken the message for.
func (t *transaction) taken(r *smtp.Reply) queue.Outcome {
	o := queue.Outcome{Passed: t.c.c.Extensions().DSN}
	o.State, o.Via, o.TLS, o.Reply = fate.Relayed, t.c.via, t.c.tls, cut(r.String(), fate.ReplyMax)
	if t.p.hop != nil && t.p.hop.Scheme == LMTP {
		o.State = fate.Delivered
	}
	return o
}

// tooMany is a refusal of more recipients in one transaction, RFC 5321
// §4.5.3.1.10.
func tooMany(r *smtp.Reply) bool {
	switch r.Enhanced {
	case "", "4.5.3", "5.5.3":
		return r.Code == 452 || r.Code == 552
	}
	return false
}

// refused is for a recipient of which the host said no, to the sender, to the
// recipient or to the message.
func (t *transaction) refused(rc *smtp.Receipt, k int, r *smtp.Reply) *failure {
	what := "message"
	if r == &rc.Final && t.noBDAT(r) {
		f := refusedBy(r, queue.Up, "The host offers CHUNKING and does not know BDAT: it gets the message by DATA.")
		f.state, f.retry = fate.Deferred, dottedRetry
		return f.at(t.c.via, t.c.tls)
	}
	switch {
	case r == &rc.Sender:
		what = "sender"
	case k < len(rc.Recipients) && r == &rc.Recipients[k]:
		what = "recipient"
	}
	health := queue.Up
	if r.Temporary() && ofHost(what, r) {
		health = queue.Busy
	}
	f := refusedBy(r, health, "The host refused the %s.", what)
	if r.Temporary() {
		f.reason = "The host wants the " + what + " to be sent again later."
	}
	if t.c.fallen && needsTLS(r) { // the handshake may go better next time
		t.a.d.plain.forget(t.p.key())
		t.c.messages = t.a.d.o.MaxMessages
		f.state, f.health = fate.Deferred, queue.Busy
		f.reason = "The host takes mail under TLS only, and TLS with it failed."
	}
	if t.p.hop != nil && ourFault(r) {
		f.state, f.health = fate.Deferred, queue.Down
		f.reason = "The next hop does not let this host send mail: one of the two is not set up right."
	}
	return f.at(t.c.via, t.c.tls)
}

// noBDAT reports whether a refusal is of the command and not of the message,
// and remembers it.
func (t *transaction) noBDAT(r *smtp.Reply) bool {
	d, addr := t.a.d, t.p.where()
	now := d.o.Clock.Now()
	unknown := r.Code == 500 || r.Code == 502 || r.Code == 504 // RFC 5321 §4.2.4
	if !unknown || d.o.NoChunking || !t.c.c.Extensions().Chunking || d.dotted.is(addr, now) {
		return false
	}
	d.dotted.note(addr, now)
	t.c.messages = d.o.MaxMessages // this connection has had its last
	return true
}

// ofHost reports whether a temporary refusal is about the host, which has too
// much to do, and not about who writes to whom, or what (RFC 3463 §3). Before it
// knows of a recipient hardly anything else can be meant; once it does, it may
// be a mailbox, or a policy such as greylisting.
func ofHost(what string, r *smtp.Reply) bool {
	if r.Code == 421 { // RFC 5321 §3.8: it goes
		return true
	}
	subject := ""
	if part := strings.Split(string(r.Enhanced), "."); len(part) > 1 {
		subject = part[1]
	}
	switch subject {
	case "1", "2", "6": // an address, a mailbox, the content
		return false
	case "7": // a policy
		return what == "sender"
	case "3", "4", "5": // the mail system, the network, the protocol
		return true
	}
	switch r.Code { // RFC 5321 §4.2.2
	case 450:
		return what == "sender" // a mailbox
	case 451:
		return what != "recipient" // greylisting at RCPT, often
	}
	return true
}

// needsTLS is a refusal of a command in the clear (RFC 3207 §4, RFC 5248's
// X.7.10).
func needsTLS(r *smtp.Reply) bool { return r.Code == 530 || r.Enhanced == "5.7.10" }

// ourFault reports whether a refusal speaks of commands that should not have
// been sent, or of a right that this host lacks.
func ourFault(r *smtp.Reply) bool {
	switch r.Code {
	case 500, 502, 503, 530, 535, 538:
		return true
	}
	return false
}
