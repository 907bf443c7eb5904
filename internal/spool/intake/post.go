package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// posting is one message of the host's own, on its way in.
type posting struct {
	in   *Intake
	p    *Post
	m    fate.Message
	d    mailbox.Delivery
	have seen
}

func (i *Intake) post(ctx context.Context, p Post) (string, error) {
	if err := i.o.Ready(); err != nil {
		return "", fmt.Errorf("store is not ready: %w", err)
	}
	if len(p.To) == 0 {
		return "", errors.New("post: no recipients")
	}
	id, err := i.newID()
	if err != nil {
		return "", err
	}
	now := i.o.Clock.Now()
	t := &posting{in: i, p: &p, have: newSeen(len(p.To))}
	t.m = fate.Message{ID: id, Source: fate.System, Received: now, From: p.From}
	t.d = mailbox.Delivery{ID: id, From: p.From, Received: now}
	for _, to := range p.To {
		if err := t.address(ctx, to); err != nil {
			return "", err
		}
	}
	body, err := t.body(ctx)
	if err != nil {
		return "", err
	}
	t.d.Also = fate.AppendAccepted(nil, &t.m)
	for _, c := range p.Changes {
		if c.DSN == "" {
			c.DSN = id
		}
		if t.d.Also, err = fate.AppendChange(t.d.Also, &c); err != nil {
			body.Abort()
			return "", fmt.Errorf("post: %w", err)
		}
	}
	t.d.Also = fate.AppendTold(t.d.Also, p.Told)
	if _, _, err := i.mailboxes.Deliver(ctx, body, t.d); err != nil {
		body.Abort()
		return "", storeReply(err)
	}
	return id, nil
}

// address adds where mail to one address goes.
func (t *posting) address(ctx context.Context, to message.Address) error {
	ts, err := t.in.expand(ctx, host, to)
	var refusal *smtp.Reply
	switch {
	case errors.As(err, &refusal):
		t.nobody(to, refusal.Text)
		return nil
	case err != nil:
		return err
	}
	home := slices.ContainsFunc(ts, func(r target) bool { return !r.Remote() })
	for _, r := range ts {
		if r.Remote() && home && t.p.Receipt { // it is for their own records
			continue
		}
		r.named.To = to
		if !t.have.add(r.Recipient) {
			continue
		}
		if err := t.recipient(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// recipient adds one final recipient.
func (t *posting) recipient(ctx context.Context, r target) error {
	f := fate.Recipient{Address: r.Address, Account: r.Account}
	if r.named.To != r.Address {
		f.Rcpt = r.named.To
	}
	if r.Remote() {
		var err error
		if f.Sender, err = t.in.rewritten(ctx, host, t.p.From, r); err != nil {
			return fmt.Errorf("resolve sender: %w", err)
		}
		f.State = fate.Queued
		t.m.Recipients = append(t.m.Recipients, f)
		return nil
	}
	filing, name, err := t.filing(ctx, r)
	if err != nil && isVerdict(err) {
		t.nobody(r.named.To, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	f.State = fate.Delivered
	f.Last = fate.Event{At: t.m.Received, State: fate.Delivered, Via: name + " of " + r.Address.String()}
	t.m.Recipients = append(t.m.Recipients, f)
	t.d.Filings = append(t.d.Filings, filing)
	return nil
}

// nobody adds a recipient that is not there: an address that has gone since,
// or a forged one. It is noted and told to the log, and that is the end of it.
func (t *posting) nobody(to message.Address, why string) {
	t.in.o.Log.Warn("no one to tell", telemetry.Env, t.m.ID, telemetry.Rcpt, to.String(), telemetry.Reason, why)
	t.m.Recipients = append(t.m.Recipients, fate.Recipient{Address: to, Standing: fate.Standing{
		State: fate.Discarded,
		Last:  fate.Event{At: t.m.Received, State: fate.Discarded, Reason: "no one to tell: " + why},
	}})
}

// filing says into which mailbox of an account of ours the message goes.
func (t *posting) filing(ctx context.Context, r target) (f mailbox.Filing, name string, err error) {
	f = mailbox.Filing{Account: r.Account, Rcpt: r.named.To}
	if t.p.Receipt {
		f.Flags = []string{`\Seen`}
		all, err := t.in.mailboxes.List(ctx, r.Account)
		if err != nil {
			return f, "", storeReply(err)
		}
		for _, info := range all {
			if info.Exists && info.SpecialUse == `\Sent` {
				f.Mailbox = info.ID
				return f, info.Name, nil
			}
		}
	}
	f.Mailbox, err = t.in.inbox(ctx, r.Account)
	return f, "INBOX", err
}

// body stores the message behind our trace fields, and signs it if it leaves.
func (t *posting) body(ctx context.Context) (*mailbox.Body, error) {
	i, m := t.in, &t.m
	path := returnPath(m.From)
	m.Skip = int64(len(path))
	received := "Received: by " + i.o.Hostname + " id " + m.ID + ";\r\n\t" + m.Received.Format(headerDate) + "\r\n"
	body, err := i.mailboxes.NewBody(ctx, []byte(path+received))
	if err != nil {
		return nil, storeReply(err)
	}
	if _, err = body.Write(t.p.Body); err == nil {
		err = body.Finish()
	}
	if err != nil {
		body.Abort()
		return nil, storeReply(err)
	}
	m.Size, m.MessageID = body.Size(), body.Message().Envelope.MessageID
	if hasEightBit(t.p.Body) {
		m.Body = smtp.Body8BitMIME
	}
	m.TLSOptional = tlsOptional(t.p.Body)
	if slices.ContainsFunc(m.Recipients, func(r fate.Recipient) bool { return r.State == fate.Queued }) {
		m.Headers = t.signature()
	}
	return body, nil
}

// signature signs the message as its author's domain does.
func (t *posting) signature() string {
	if t.in.o.Signer == nil {
		return ""
	}
	h := new(header)
	begun, rest, err := h.write(t.p.Body)
	if err != nil {
		return ""
	}
	s := t.in.o.Signer.Begin(authorOf(h.raw))
	if s == nil {
		return ""
	}
	for _, part := range [][]byte{begun, rest} {
		if _, err := s.Write(part); err != nil {
			return ""
		}
	}
	return t.in.sign(s, h.raw, t.m.ID)
}

// authorOf is the domain of the first mailbox in a header's From field.
func authorOf(raw []byte) message.Domain {
	for f := range message.Fields(raw) {
		if !f.Is("From") {
			continue
		}
		for _, a := range message.ParseAddressList(f.Value()) {
			if addr, ok := addressOf(a); ok {
				return addr.Domain
			}
		}
	}
	return ""
}
