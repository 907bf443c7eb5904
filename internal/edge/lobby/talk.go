package lobby

import (
	"bytes"
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

func isShort(err error) bool { return errors.Is(err, listen.ErrProxyShort) }

// machine is the one for a guest: who is listed is not offered STARTTLS.
func (h *hall) machine(g *guest) *smtp.Machine {
	if g.flags&flagListed != 0 {
		return h.machines[machinePlain]
	}
	return h.machines[machineTLS]
}

// banner begins the dialogue.
func (h *hall) banner(slot uint32, g *guest) {
	h.setStage(slot, g, stageTalk)
	h.talk = conversation{}
	c := &h.talk
	_, h.out = h.machine(g).Step(&c.d, smtp.Event{Kind: smtp.EventOpen}, time.Unix(0, h.now), h.out[:0])
	if !h.keep(slot, g, c) {
		h.end(slot, g, endEvicted, c)
		return
	}
	if h.send(slot, g) {
		h.schedule(slot, g)
		h.resume(slot, g)
	}
}

// resume lets the shell read from a guest again, if there is something.
func (h *hall) resume(slot uint32, g *guest) {
	if g.flags&flagReadable != 0 && h.owed[slot] == nil {
		h.ready = append(h.ready, slot)
	}
}

// hear takes octets of the dialogue.
func (h *hall) hear(slot uint32, g *guest, in []byte) {
	h.talk = h.open(g)
	c := &h.talk
	h.out = h.out[:0]
	if c.d.Helo() == "" && c.d.Idle() && notSMTP(in) {
		h.fault(slot, g, policy.NotSMTP)
		h.out = append(h.out, "421 4.7.0 This is SMTP, closing connection\r\n"...)
		h.leave(slot, g, c, endClosed)
		return
	}
	due := c.d.Due()
	over := h.run(slot, g, c, in)
	if over {
		return
	}
	if c.d.Due() != due {
		g.spoke = g.ms(h.now)
	}
	h.setRank(slot, g, g.judgeRank())
	if !h.keep(slot, g, c) {
		h.sh.write(g.fd, slot, g.gen, []byte(replyFull))
		h.end(slot, g, endEvicted, c)
		return
	}
	if h.send(slot, g) {
		h.schedule(slot, g)
	}
}

// run steps the machine through the input. It reports whether the guest is in
// the lobby's dialogue no more.
func (h *hall) run(slot uint32, g *guest, c *conversation, in []byte) (over bool) {
	m, now := h.machine(g), time.Unix(0, h.now)
	ev := smtp.Event{Kind: smtp.EventInput, Data: in}
	for {
		before, said := c.d, len(h.out)
		var a smtp.Action
		a, h.out = m.Step(&c.d, ev, now, h.out)
		if ev.Kind == smtp.EventInput { // what follows a recipient may be a body (BDAT, RFC 3030 §4.2)
			if f := g.scan(in[:a.N], before.InBody()); f != 0 {
				h.fault(slot, g, f)
			}
		}
		h.noteReplies(slot, g, h.out[said:])
		if c.d.Early() {
			h.fault(slot, g, policy.Pipelined)
		}
		switch a.Kind {
		case smtp.ActionRead:
			if in = in[a.N:]; len(in) == 0 {
				return false
			}
			ev = smtp.Event{Kind: smtp.EventInput, Data: in}
		case smtp.ActionClose:
			how := endClosed
			if c.d.LastCode() == 221 {
				how = endQuit
			}
			h.leave(slot, g, c, how)
			return true
		case smtp.ActionTLS:
			v, pass := h.judgeTLS(slot, g, c)
			if pass {
				h.handOver(slot, g, c, nil, v, true)
				return true
			}
			// As if it had not been answered yet, and now with 454.
			c.d, h.out = before, h.out[:said]
			m = h.machines[machineLater]
		case smtp.ActionSender:
			in = in[a.N:]
			ev = smtp.Event{Kind: smtp.EventProceed} // refusals are at RCPT
		default:
			in = in[a.N:]
			v := h.judge(slot, g, c)
			if v.Kind == policy.Pass {
				h.handOver(slot, g, c, in, v, false)
				return true
			}
			ev = smtp.Event{Kind: smtp.EventRefuse, Reply: v.Reply}
		}
	}
}

// judge asks the Gate about the recipient in question. A refusal holds for all
// recipients that follow.
func (h *hall) judge(slot uint32, g *guest, c *conversation) policy.Verdict {
	if g.rcpts < 1<<16-1 {
		g.rcpts++
	}
	if g.flags&flagRefused != 0 && g.ruling != nil {
		return policy.Verdict{Kind: policy.Refuse, Reply: g.ruling.replyTo(g)}
	}
	e := c.d.Envelope()
	var to message.Address
	if e != nil && len(e.Recipients) > 0 {
		to = e.Recipients[len(e.Recipients)-1].To
		if !c.named {
			c.from, c.to, c.named = e.From, to, true
		}
	}
	pg := h.policyGuest(g, c)
	pg.To, pg.HasTo = to, !to.IsZero()
	v := h.gate.Decide(pg)
	if g.flags&flagRefused != 0 {
		v.Kind = policy.Refuse // it was told so once, and stays so
	}
	if v.Kind == policy.Pass {
		return v
	}
	if v.Reply == nil || v.Reply.Positive() {
		v.Reply = &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Refused by policy"}
		if v.Kind == policy.Defer {
			v.Reply = &smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: "Try again later"}
		}
	}
	if g.flags&(flagRefused|flagDeferred) == 0 {
		g.refusedAt = g.ms(h.now)
	}
	if v.Kind == policy.Refuse {
		h.tally.refused++
		g.flags |= flagRefused
	} else {
		h.tally.deferred++
		g.flags |= flagDeferred
	}
	h.o.Metrics.verdicts[v.Kind].Inc()
	h.rule(slot, g, &v)
	h.setRank(slot, g, g.judgeRank())
	return v
}

// judgeTLS asks the Gate about a guest that wants TLS, for which there must be
// room.
func (h *hall) judgeTLS(slot uint32, g *guest, c *conversation) (policy.Verdict, bool) {
	if g.flags&(flagRefused|flagDeferred) != 0 || !take(&h.pool.tls, 1, h.pool.tlsGuests) {
		h.o.Metrics.tlsLater.Inc()
		return policy.Verdict{}, false
	}
	v := h.gate.Decide(h.policyGuest(g, c))
	if v.Kind != policy.Pass {
		h.pool.tls.Add(-1)
		h.o.Metrics.tlsLater.Inc()
	}
	return v, v.Kind == policy.Pass
}

// policyGuest says what is known of a guest; valid until the next event.
func (h *hall) policyGuest(g *guest, c *conversation) *policy.Guest {
	h.pg = policy.Guest{
		ID: listen.FormatID(g.id), Addr: g.ip(), Helo: c.d.Helo(), ESMTP: c.d.ESMTP(), TLS: c.d.TLS(),
		From: c.from, HasFrom: c.named, To: c.to, HasTo: c.named, Rcpts: int(g.rcpts),
		Arrived: time.Unix(0, g.arrived), Now: time.Unix(0, h.now), Faults: g.faults,
		Score: g.score(), Scored: g.flags&flagScored != 0, Octets: g.octets, CPU: time.Duration(g.cpu),
		Questions: int(g.asked), Known: g.flags&flagKnown != 0, Refused: g.flags&flagRefused != 0,
	}
	if e := c.d.Envelope(); e != nil {
		h.pg.From, h.pg.HasFrom = e.From, true
	}
	return &h.pg
}

// handOver gives a guest to a session, with the question that is pending.
func (h *hall) handOver(slot uint32, g *guest, c *conversation, unread []byte, v policy.Verdict, tls bool) {
	pg := h.policyGuest(g, c)
	if e := c.d.Envelope(); e != nil && len(e.Recipients) > 0 {
		pg.To, pg.HasTo = e.Recipients[len(e.Recipients)-1].To, true
	}
	o := Handover{
		ID: pg.ID, Dialogue: c.d, Unread: append([]byte(nil), unread...), Guest: *pg, Verdict: v, Ended: h.pool.passed(tls),
	}
	o.Remote = g.remote()
	n := 0
	if len(h.out) > 0 {
		if n = h.sh.write(g.fd, slot, g.gen, h.out); n < 0 {
			o.Ended()
			h.end(slot, g, endReset, c)
			return
		}
	}
	h.counted(g, len(h.out))
	if !h.pass(slot, g.fd, append([]byte(nil), h.out[n:]...), o) {
		o.Ended()
		h.end(slot, g, endEvicted, c)
		return
	}
	h.tally.passed++
	h.tally.endings[endPassed]++
	h.o.Metrics.verdicts[policy.Pass].Inc()
	h.o.Metrics.endings[endPassed].Inc()
	h.logEnd(g, c, endPassed, &v)
	h.remove(slot, g)
}

// noteReplies looks for replies of the machine that tell of a fault.
func (h *hall) noteReplies(slot uint32, g *guest, out []byte) {
	if len(out) == 0 || out[0] == '2' && len(out) < 64 { // the one reply to a good command
		return
	}
	switch {
	case bytes.Contains(out, []byte("\r\n421 4.7.0 Too many errors")) || bytes.HasPrefix(out, []byte("421 4.7.0 Too many errors")):
		h.fault(slot, g, policy.ManyErrors)
	case bytes.HasSuffix(out, []byte("This is SMTP, closing connection\r\n")):
		h.fault(slot, g, policy.NotSMTP)
	case bytes.Contains(out, []byte("501 5.5.4 A domain name or an address literal is needed")):
		h.fault(slot, g, policy.BadHelo)
	}
}
