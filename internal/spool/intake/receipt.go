package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	// receiptsEvery is how often it is looked for reports that are owed and that
	// nobody has called for, or that could not be made before.
	receiptsEvery = time.Minute
	// receiptErrorsMax is after how many failures a round ends: the disk is full.
	receiptErrorsMax = 5
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

// owed are the reports of success that the sender is to get once the message has
// its 250 (RFC 3461 §5.2): of those who have it, each address that the sender
// named once. The queue reports of the others.
func (b *Body) owed() fate.Owed {
	o := fate.Owed{Successes: map[int]fate.Success{}}
	if b.e.From.IsZero() { // RFC 3461 §6.1
		return o
	}
	seen := map[message.Address]bool{}
	for n, t := range b.targets {
		if t.Remote() && !t.shared || t.named.Notify&smtp.NotifySuccess == 0 || seen[t.named.To] {
			continue
		}
		seen[t.named.To] = true
		o.Successes[n] = fate.ToldDelivered
		if t.shared && (t.Remote() || !t.Via.IsZero()) {
			o.Successes[n] = fate.ToldExpanded
		}
	}
	return o
}

// Debts are the reports of success that are owed; *fate.Store has them.
type Debts interface {
	Owed(ctx context.Context, fn func(fate.Owed)) error
	Load(ctx context.Context, lsn journal.LSN, rcpts ...int) (*fate.Message, error)
}

// RunReceipts makes the reports of success that are owed, until ctx ends: at
// its start, when woken, and every minute, since the queue owes some too. What
// cannot be made now is owed on. One of them runs at a time.
func (i *Intake) RunReceipts(ctx context.Context, d Debts, wake <-chan struct{}) error {
	for {
		if err := i.Receipts(ctx, d); err != nil && ctx.Err() == nil {
			i.o.Log.Error("success is not reported yet", telemetry.Err, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-i.o.Clock.After(receiptsEvery):
		}
	}
}

// Receipts makes the reports of success that are owed now, as far as it can.
func (i *Intake) Receipts(ctx context.Context, d Debts) error {
	var all []fate.Owed
	if err := d.Owed(ctx, func(o fate.Owed) { all = append(all, o) }); err != nil {
		return err
	}
	var errs []error
	for _, o := range all {
		m, err := d.Load(ctx, o.LSN, slices.Collect(maps.Keys(o.Successes))...)
		if err == nil {
			err = i.report(ctx, m, o)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("report of message %s: %w", o.LSN, err))
		}
		if ctx.Err() != nil || len(errs) == receiptErrorsMax {
			break
		}
	}
	return errors.Join(errs...)
}

// report posts one report, whose record says that it is owed no more.
func (i *Intake) report(ctx context.Context, m *fate.Message, o fate.Owed) error {
	id, err := i.newID()
	if err != nil {
		return err
	}
	hostname, err := message.ParseDomain(i.o.Hostname)
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	r := dsn.Report{
		ID: id, Now: i.o.Clock.Now(), Hostname: hostname, To: m.From,
		EnvID: m.EnvID, Ret: smtp.RetHeaders, Arrival: m.Received,
	}
	for _, n := range slices.Sorted(maps.Keys(o.Successes)) {
		if n < len(m.Recipients) {
			r.Recipients = append(r.Recipients, reported(&m.Recipients[n], o.Successes[n]))
		}
	}
	// What can no longer be read is left out: that the sender hears matters more.
	original, err := i.mailboxes.OpenMessage(ctx, m.LSN)
	if err == nil {
		head := make([]byte, max(0, min(original.Size()-m.Skip, dsn.OriginalMax+1)))
		var n int
		if n, err = original.ReadAt(head, m.Skip); err == nil || errors.Is(err, io.EOF) {
			r.Original, err = bytes.NewReader(head[:n]), nil
		}
		err = errors.Join(err, original.Close())
	}
	if err != nil {
		i.o.Log.Warn("a report returns nothing of its message", telemetry.Env, m.ID, telemetry.Err, err)
	}
	body, err := dsn.Build(r)
	if err != nil {
		return err
	}
	_, err = i.post(ctx, Post{To: []message.Address{m.From}, Body: body, Receipt: true, Told: o})
	return err
}

// reported is what a report says of one recipient, as the sender named him.
func reported(r *fate.Recipient, s fate.Success) dsn.Recipient {
	out := dsn.Recipient{Final: r.Address, Original: r.Orcpt, Action: dsn.Delivered}
	if !r.Rcpt.IsZero() {
		out.Final = r.Rcpt
	}
	switch s {
	case fate.ToldExpanded:
		out.Action = dsn.Expanded
	case fate.ToldRelayed:
		out.Action, out.LastTry = dsn.Relayed, r.Last.At
	}
	return out
}
