package intake

import (
	"context"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// messageIDOctetsMax is how much of a Message-ID is noted, for the trace: a
// line of RFC 5322 §2.1.1.
const messageIDOctetsMax = 998

// factsOctetsMax bounds the facts of a message: half of the envelope that the
// journal takes, whose other half the filings need at most. Ten thousand
// recipients of ordinary length take a fifth of it.
const factsOctetsMax = journal.EnvelopeMax / 2

// Commit takes the message over: it is filed for those who are here, queued
// for those who are not, and the fate of all is noted, in one record. When it
// returns nil the message is durable (I1); the id is the one in its Received
// field.
func (b *Body) Commit(ctx context.Context) (string, error) {
	id, err := b.commit(ctx)
	if err != nil {
		b.body.Abort()
	}
	return id, err
}

func (b *Body) commit(ctx context.Context) (string, error) {
	if err := b.end(); err != nil {
		return "", err
	}
	if err := b.in.fits(ctx, &b.e, b.targets, b.size); err != nil {
		return "", err
	}
	m, err := b.facts()
	if err != nil {
		return "", err
	}
	d := mailbox.Delivery{ID: b.id, From: b.e.From, Received: b.at}
	for _, t := range b.targets {
		r, err := b.recipient(ctx, t)
		if err != nil {
			return "", err
		}
		m.Recipients = append(m.Recipients, r)
		if t.Remote() {
			continue
		}
		inbox, err := b.in.inbox(ctx, t.Account)
		if err != nil {
			return "", b.in.changed(&b.e, t.named.To, err)
		}
		d.Filings = append(d.Filings, mailbox.Filing{Account: t.Account, Mailbox: inbox, Rcpt: t.named.To})
	}
	if err := b.allowed(); err != nil {
		return "", err
	}
	if d.Also = fate.AppendAccepted(nil, m); len(d.Also) > factsOctetsMax {
		return "", &smtp.Reply{Code: 452, Enhanced: "4.5.3", Text: "Too many long recipients, send to fewer at once"}
	}
	owed := b.owed()
	d.Also = fate.AppendOwed(d.Also, owed)
	lsn, _, err := b.in.mailboxes.Deliver(ctx, b.body, d)
	if err != nil {
		return "", storeReply(err)
	}
	m.LSN = lsn
	b.tell()
	if len(owed.Successes) > 0 {
		b.in.o.Owes()
	}
	return b.id, nil
}

// facts are what is known of the message, its recipients excepted.
func (b *Body) facts() (*fate.Message, error) {
	if err := b.body.Finish(); err != nil {
		return nil, storeReply(err)
	}
	m := &fate.Message{
		ID: b.id, Source: fate.Inbound, Received: b.at, Size: b.body.Size(),
		MessageID: b.body.Message().Envelope.MessageID,
		Session:   b.e.Session, RemoteIP: b.e.RemoteIP, Protocol: b.e.Protocol, TLS: b.e.TLS,
		From: b.e.From, Body: b.e.Body, UTF8: b.e.UTF8, RequireTLS: b.e.RequireTLS,
		Ret: b.e.Ret, EnvID: b.e.EnvID, Skip: b.skip,
	}
	// RFC 8689 §4.1: whoever has said REQUIRETLS is not asked what the header says.
	m.TLSOptional = b.away && !m.RequireTLS && tlsOptional(b.seen())
	if b.eight { // whatever the client has said of it
		m.Body = smtp.Body8BitMIME
	}
	if b.in.askerOf(&b.e) == user {
		m.Source, m.Account = fate.Submitted, account.ID(b.e.Account)
	}
	if len(m.MessageID) > messageIDOctetsMax {
		m.MessageID = m.MessageID[:messageIDOctetsMax]
	}
	if b.sig != nil {
		m.Headers = b.in.sign(b.sig, b.left, b.id)
	}
	return m, nil
}

// sign ends a signature. A message that cannot be signed goes without one:
// what else authenticates it may do, and its sender could do nothing.
func (i *Intake) sign(s Signature, header []byte, id string) string {
	fields, err := s.Fields(header)
	if err != nil {
		i.o.Log.Error("message is not signed", telemetry.Env, id, telemetry.Err, err)
		return ""
	}
	return fields
}

// recipient is the first state of one final recipient.
func (b *Body) recipient(ctx context.Context, t target) (fate.Recipient, error) {
	r := fate.Recipient{
		Address: t.Address, Account: t.Account,
		Notify: t.notifyOf(), Orcpt: t.named.Orcpt,
	}
	if t.named.To != t.Address {
		r.Rcpt = t.named.To
	}
	if !t.Remote() {
		r.State = fate.Delivered
		r.Last = fate.Event{At: b.at, State: fate.Delivered, Via: "INBOX of " + t.Address.String()}
		return r, nil
	}
	var err error
	if r.Sender, err = b.in.rewritten(ctx, b.in.askerOf(&b.e), b.e.From, t); err != nil {
		return r, fmt.Errorf("resolve sender: %w", err)
	}
	r.State = fate.Queued
	if !t.Via.IsZero() && b.head != nil && deliveredTo(b.seen(), t.Via, t.named.To) {
		return b.looped(r, t)
	}
	return r, nil
}

// seen is what is known of the message's header.
func (b *Body) seen() []byte {
	if b.edit != nil {
		return b.left
	}
	return b.head.raw
}

// looped is the fate of a recipient to whom t.Via has forwarded the message
// before: what comes back is not forwarded again. An account that keeps a copy
// of its own has it; else nobody would, and the sender must know.
func (b *Body) looped(r fate.Recipient, t target) (fate.Recipient, error) {
	for _, o := range b.targets {
		if !o.Remote() && o.Account == t.Forwarder {
			r.State = fate.Discarded
			r.Last = fate.Event{At: b.at, State: fate.Discarded, Reason: "a loop: " + t.Via.String() + " has forwarded this message before"}
			b.in.o.Log.Info("message is not forwarded again", telemetry.Env, b.id, telemetry.Rcpt, t.Address.String())
			return r, nil
		}
	}
	return r, &smtp.Reply{Code: 554, Enhanced: "5.4.6", Text: "Mail loop: " + t.Via.String() + " has forwarded this message before"}
}

// allowed asks whether the user may send the whole message.
func (b *Body) allowed() error {
	if b.edit == nil || b.in.o.Limiter == nil {
		return nil
	}
	if r := b.in.o.Limiter.Message(&b.e); r != nil {
		return r
	}
	return nil
}

// tell tells others of a message that is durable.
func (b *Body) tell() {
	if b.edit == nil || b.in.o.Correspondents == nil {
		return
	}
	for _, t := range b.targets {
		if t.Remote() && t.Via.IsZero() {
			b.in.o.Correspondents.Correspond(string(t.Address.Domain))
		}
	}
}
