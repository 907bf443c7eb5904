package relay

import (
	"context"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// transaction is one of a session, with the inner server's behind it from the
// first recipient on.
type transaction struct {
	r        *Relay
	e        *smtp.Envelope
	c        *inner // nil before, and after it is over
	over     error  // why nothing more can come of it
	accepted int    // recipients
}

// Recipient implements session.Transaction.
func (t *transaction) Recipient(ctx context.Context, to message.Address) error {
	if t.over != nil {
		return t.over
	}
	if !t.r.serves(to) {
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied: " + string(to.Domain) + " is not one of our domains"}
	}
	now := t.r.o.Clock.Now()
	if t.r.o.RememberRefused > 0 {
		if re := t.r.verifier.refused(to, now); re != nil {
			t.r.o.Metrics.remembered.Inc()
			return re
		}
	}
	rcpt := smtp.Recipient{To: to}
	if last := len(t.e.Recipients) - 1; last >= 0 && t.e.Recipients[last].To == to {
		rcpt = t.e.Recipients[last] // with what its sender wants to hear of it
	}
	re, err := t.ask(ctx, &rcpt)
	switch {
	case err != nil:
		t.over = err
		t.end()
		return err
	case re.Code/100 == 2:
		t.accepted++
		t.r.verifier.note(to, nil, now.Add(rememberAcceptedFor))
		return nil
	}
	if t.c.bad || re.Code/100 == 3 { // 421, or the two are out of step
		t.c.bad = true
		t.over = verdict(&re)
		t.end()
		return t.over
	}
	if about(&re) && t.r.o.RememberRefused > 0 {
		t.r.verifier.note(to, &re, now.Add(t.r.o.RememberRefused))
	}
	return verdict(&re)
}

// serves reports whether mail for a recipient is passed on at all.
func (r *Relay) serves(to message.Address) bool {
	return len(r.o.Domains) == 0 || slices.Contains(r.o.Domains, to.Domain) ||
		strings.EqualFold(to.Local, "postmaster") && strings.EqualFold(string(to.Domain), r.o.Hostname)
}

// ask says RCPT, and MAIL before the first. A connection that has been idle
// may be dead; since nothing depends on it yet, another takes its place.
func (t *transaction) ask(ctx context.Context, rcpt *smtp.Recipient) (smtp.Reply, error) {
	if t.c != nil {
		re, err := t.c.command(ctx, t.r.o.Times.Command, string(smtp.AppendRcpt(nil, rcpt, t.c.x)))
		if err != nil {
			return re, gone(err)
		}
		return re, nil
	}
	for fresh := false; ; fresh = true {
		c, reused, err := t.r.take(ctx, t.e, fresh)
		if err != nil {
			return smtp.Reply{}, err
		}
		t.c = c
		re, err := t.begin(ctx, rcpt)
		if err == nil && !(c.bad && reused) {
			return re, nil
		}
		if !reused || !c.bad || ctx.Err() != nil {
			return re, err
		}
		t.end()
	}
}

// begin says MAIL and the first RCPT, together where that is offered.
func (t *transaction) begin(ctx context.Context, rcpt *smtp.Recipient) (smtp.Reply, error) {
	c, wait := t.c, t.r.o.Times.Command
	e := *t.e
	if e.Size > 0 {
		e.Size += headersRoom
	}
	c.open = true
	c.out = append(smtp.AppendMail(c.out[:0], &e, c.x), '\r', '\n')
	together := c.x.Pipelining
	if together {
		c.out = append(smtp.AppendRcpt(c.out, rcpt, c.x), '\r', '\n')
	}
	if err := c.send(ctx, wait); err != nil {
		return smtp.Reply{}, gone(err)
	}
	mail, err := c.reply(ctx, wait)
	if err != nil {
		return smtp.Reply{}, gone(err)
	}
	var re smtp.Reply
	switch {
	case together && !c.bad:
		re, err = c.reply(ctx, wait)
	case mail.Code/100 == 2:
		re, err = c.command(ctx, wait, string(smtp.AppendRcpt(nil, rcpt, c.x)))
	}
	switch {
	case mail.Code/100 != 2: // whatever has been said to RCPT
		return re, verdict(&mail)
	case err != nil:
		return re, gone(err)
	}
	return re, nil
}

// Begin implements session.Transaction: DATA, and our header fields.
func (t *transaction) Begin(ctx context.Context, e smtp.Envelope) (session.Body, error) {
	switch {
	case t.over != nil:
		return nil, t.over
	case t.c == nil || len(e.Recipients) != t.accepted:
		// Somebody between the session and us refuses recipients that the
		// inner server would deliver to.
		return nil, errMismatch
	}
	re, err := t.c.command(ctx, t.r.o.Times.Command, "DATA")
	switch {
	case err != nil:
		return nil, gone(err)
	case re.Code/100 != 3:
		t.c.bad = t.c.bad || re.Code/100 == 2
		t.r.o.Metrics.messages[refused].Inc()
		return nil, verdict(&re)
	}
	b := &body{t: t, ctx: ctx}
	if _, err := b.Write([]byte(e.Received(t.r.o.Hostname, e.Session, t.r.o.Clock.Now()) + e.Headers)); err != nil {
		b.Abort()
		return nil, err
	}
	return b, nil
}

// Close implements session.Transaction.
func (t *transaction) Close() { t.end() }

// end gives the connection back, if there is one.
func (t *transaction) end() {
	if t.c != nil {
		t.r.put(t.c)
		t.c = nil
	}
}

// body is a message on its way through.
type body struct {
	t     *transaction
	ctx   context.Context // of the session's questions: Write is none, and has to end with them
	stuff stuffer
}

// Write implements session.Body.
func (b *body) Write(p []byte) (int, error) {
	c := b.t.c
	n := len(p)
	for len(p) > 0 {
		part := p[:min(len(p), blockOctets)]
		p = p[len(part):]
		var ok bool
		if c.out, ok = b.stuff.append(c.out, part); !ok {
			return 0, gone(errBare)
		}
		if err := c.body(b.ctx, b.t.r.o.Times.Block); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Commit implements session.Body: the final dot, and the inner server's answer.
func (b *body) Commit(ctx context.Context) (string, error) {
	t, c := b.t, b.t.c
	began := t.r.o.Clock.Now()
	re, err := b.finish(ctx)
	t.r.o.Metrics.wait.Observe(t.r.o.Clock.Now().Sub(began).Seconds())
	switch {
	case err != nil:
		c.bad = true
		t.r.o.Metrics.messages[lost].Inc()
		return "", err
	case re.Code/100 != 2:
		c.open = false
		c.bad = c.bad || re.Code/100 == 3
		t.r.o.Metrics.messages[refused].Inc()
		return "", verdict(&re)
	}
	c.open = false
	t.r.o.Metrics.messages[accepted].Inc()
	return idOf(&re), nil
}

func (b *body) finish(ctx context.Context) (smtp.Reply, error) {
	c := b.t.c
	var ok bool
	if c.out, ok = b.stuff.end(c.out); !ok {
		return smtp.Reply{}, gone(errBare)
	}
	if err := c.send(ctx, b.t.r.o.Times.Block); err != nil {
		return smtp.Reply{}, c.lastWord(ctx, err)
	}
	re, err := c.reply(ctx, b.t.r.o.Times.Final)
	if err != nil {
		return re, gone(err)
	}
	return re, nil
}

// Abort implements session.Body: the connection is closed before the dot, so
// that the inner server has nothing that it could deliver.
func (b *body) Abort() {
	b.t.c.bad = true
	b.t.r.o.Metrics.messages[aborted].Inc()
}

// idOf is what the inner server calls the message, for the client and the log:
// its words, without the OK that stands before them here too.
func idOf(r *smtp.Reply) string {
	line, _, _ := strings.Cut(r.Text, "\n")
	for _, ok := range [...]string{"OK:", "Ok:", "ok:", "OK", "Ok", "ok"} {
		if rest, is := strings.CutPrefix(line, ok); is && (rest == "" || rest[0] == ' ') {
			return strings.TrimSpace(rest)
		}
	}
	return strings.TrimSpace(line)
}
