package intake

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// notifyOf is what the sender wants to hear of a target. Of one of several
// that an address has become, success is no news: the sender hears that the
// address was expanded (RFC 3461 §5.2.7.3).
func (t *target) notifyOf() smtp.Notify {
	n := t.named.Notify
	if n&smtp.NotifySuccess == 0 || !t.shared || !t.Remote() {
		return n
	}
	if n &^= smtp.NotifySuccess; n == 0 { // which would mean failures
		return smtp.NotifyNever
	}
	return n
}

// receipt tells the sender of those who have the message with its 250, where
// that is wanted (RFC 3461 §5.2.2). That a receipt was lost is logged: the
// message was taken all the same.
func (b *Body) receipt(ctx context.Context, m *fate.Message) {
	if m.From.IsZero() { // RFC 3461 §6.1
		return
	}
	rs := b.receivers()
	if len(rs) == 0 {
		return
	}
	if err := b.in.report(ctx, m, rs); err != nil {
		b.in.o.Log.Error("success is not reported", telemetry.Env, m.ID, telemetry.From, m.From.String(), telemetry.Err, err)
	}
}

// receivers are the recipients, as the sender named them, whose success is to
// be reported, each once.
func (b *Body) receivers() (rs []dsn.Recipient) {
	seen := map[message.Address]bool{}
	for _, t := range b.targets {
		if t.Remote() && !t.shared || t.named.Notify&smtp.NotifySuccess == 0 || seen[t.named.To] {
			continue
		}
		seen[t.named.To] = true
		r := dsn.Recipient{Final: t.named.To, Original: t.named.Orcpt, Action: dsn.Delivered}
		if t.shared && (t.Remote() || !t.Via.IsZero()) {
			r.Action = dsn.Expanded
		}
		rs = append(rs, r)
	}
	return rs
}

// report posts a success report.
func (i *Intake) report(ctx context.Context, m *fate.Message, rs []dsn.Recipient) error {
	id, err := i.newID()
	if err != nil {
		return err
	}
	hostname, err := message.ParseDomain(i.o.Hostname)
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	original, err := i.mailboxes.OpenMessage(ctx, m.LSN)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	body, err := dsn.Build(dsn.Report{
		ID: id, Now: i.o.Clock.Now(), Hostname: hostname, To: m.From,
		EnvID: m.EnvID, Ret: smtp.RetHeaders, Arrival: m.Received, Recipients: rs,
		Original: io.NewSectionReader(original, m.Skip, original.Size()-m.Skip),
	})
	if err := errors.Join(err, original.Close()); err != nil {
		return err
	}
	_, err = i.post(ctx, Post{To: []message.Address{m.From}, Body: body, Receipt: true})
	return err
}
