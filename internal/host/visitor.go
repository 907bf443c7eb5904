package host

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// visitor is the mailroom of one session that came through the lobby: before
// the host's own mailroom is asked, the policy is. It belongs to the session's
// goroutine.
type visitor struct {
	edge    *edge
	guest   policy.Guest
	passed  bool   // judged with a recipient
	first   bool   // no transaction has come since
	headers string // of the verdict, for the first transaction
	proved  func() // tells the lobby that this is a good one
}

// Open implements session.Mailroom.
func (v *visitor) Open(ctx context.Context, e *session.Envelope) (session.Transaction, error) {
	t, err := v.edge.room.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	return &visit{Transaction: t, v: v, e: e}, nil
}

// visit is one transaction of a visitor.
type visit struct {
	session.Transaction
	v       *visitor
	e       *session.Envelope
	asked   bool // a recipient was named
	headers string
}

// Recipient implements session.Transaction: judgement, rates, then whether the
// recipient exists.
func (t *visit) Recipient(ctx context.Context, to message.Address) error {
	v, g := t.v, &t.v.guest
	now := v.edge.clock.Now()
	g.Helo, g.TLS = t.e.Helo, t.e.TLS != ""
	g.From, g.HasFrom, g.To, g.HasTo, g.Now = t.e.From, true, to, true, now
	g.Rcpts++
	if !v.passed {
		verdict := v.edge.policy.Decide(g)
		if verdict.Kind != policy.Pass {
			g.Refused = g.Refused || verdict.Kind == policy.Refuse
			return verdict.Reply
		}
		v.passed, v.first, v.headers = true, true, verdict.Headers
	}
	if !t.asked {
		t.asked = true
		t.headers = v.headersOf()
	}
	if reply := v.edge.policy.Recipient(g, now); reply != nil {
		return reply
	}
	err := t.Transaction.Recipient(ctx, to)
	var reply *smtp.Reply
	if errors.As(err, &reply) && reply.Code/100 == 5 {
		v.edge.policy.RecipientRefused(g)
	}
	return err
}

// headersOf are the header fields for the transaction that begins: those of the
// verdict for the first.
func (v *visitor) headersOf() string {
	if v.first {
		v.first = false
		return v.headers
	}
	return v.edge.policy.Held(&v.guest)
}

// Begin implements session.Transaction.
func (t *visit) Begin(ctx context.Context, e session.Envelope) (session.Body, error) {
	e.Headers += t.headers
	b, err := t.Transaction.Begin(ctx, e)
	if err != nil {
		return nil, err
	}
	return &visitBody{b, t.v}, nil
}

// visitBody tells the policy of a message that was accepted.
type visitBody struct {
	session.Body
	v *visitor
}

// Commit implements session.Body.
func (b *visitBody) Commit(ctx context.Context) (string, error) {
	id, err := b.Body.Commit(ctx)
	if err == nil {
		b.v.edge.policy.Accepted(&b.v.guest, b.v.edge.clock.Now())
		b.v.proved()
	}
	return id, err
}

// ended tells the policy what the session has cost, and of a guest that was
// refused after all.
func (v *visitor) ended(s session.Summary) {
	v.edge.policy.Spent(v.guest.Addr, s.Octets, 0)
	if v.guest.Refused && s.Accepted == 0 {
		v.guest.Ended, v.guest.Now = s.Reason, v.edge.clock.Now()
		v.edge.policy.Left(&v.guest)
	}
}

// turnAway tells a guest that all places for sessions are taken.
func (v *visitor) turnAway(c *listen.Conn) {
	if c.SetWriteDeadline(v.edge.clock.Now().Add(time.Second)) == nil {
		_, _ = c.Write([]byte("421 4.3.2 Too many sessions, try again later\r\n")) // whoever does not take it goes without
	}
}

// places counts sessions in two pools: strangers never use up what is kept
// for those who passed before.
type places struct {
	all, strangers       int64 // at most
	taken, takenStranger atomic.Int64
}

func newPlaces(all int) *places {
	return &places{all: int64(all), strangers: max(1, int64(float64(all)*strangersShare))}
}

// take takes a place if there is one.
func (p *places) take(known bool) bool {
	if p.taken.Add(1) > p.all {
		p.taken.Add(-1)
		return false
	}
	if !known && p.takenStranger.Add(1) > p.strangers {
		p.takenStranger.Add(-1)
		p.taken.Add(-1)
		return false
	}
	return true
}

func (p *places) leave(known bool) {
	p.taken.Add(-1)
	if !known {
		p.takenStranger.Add(-1)
	}
}
