package intake

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// receivedMax is how many Received fields a message may come with: more is a
// loop. RFC 5321 §6.3 wants a limit of 100 at least.
const receivedMax = 100

// idBytes make an envelope id: 80 random bits never meet again.
const idBytes = 10

var errTooLarge = &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message is larger than this host takes"}

// Body is one message on its way in. It belongs to one session.
type Body struct {
	in      *Intake
	e       smtp.Envelope
	id      string
	targets []target
	body    *mailbox.Body
	size    int64
	hops    hopCounter
}

// Begin begins a message for the recipients that were accepted.
func (i *Intake) Begin(ctx context.Context, e smtp.Envelope) (*Body, error) {
	if err := i.o.Ready(); err != nil {
		return nil, fmt.Errorf("store is not ready: %w", err)
	}
	ts, err := i.targets(ctx, &e)
	if err != nil {
		return nil, err
	}
	var random [idBytes]byte
	if _, err := io.ReadFull(i.o.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("make envelope id: %w", err)
	}
	id := strings.ToLower(base32.HexEncoding.EncodeToString(random[:]))
	// What the client says of the size spares both of us the transfer.
	if err := i.fits(ctx, &e, ts, e.Size); err != nil {
		return nil, err
	}
	b, err := i.mailboxes.NewBody(ctx, trace(i.o.Hostname, id, &e, i.o.Clock.Now()))
	if err != nil {
		return nil, storeReply(err)
	}
	return &Body{in: i, e: e, id: id, targets: ts, body: b}, nil
}

// Write takes octets of the body as they arrive.
func (b *Body) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	if b.size > b.in.o.MessageSize {
		return 0, errTooLarge
	}
	b.hops.write(p)
	if b.hops.received > receivedMax {
		return 0, &smtp.Reply{Code: 554, Enhanced: "5.4.6", Text: "Mail loop: too many Received fields"}
	}
	n, err := b.body.Write(p)
	if err != nil {
		return n, storeReply(err)
	}
	return n, nil
}

// Commit files the message into the INBOX of every recipient. When it returns
// nil the message is durable (I1); the id is the one in its Received field.
func (b *Body) Commit(ctx context.Context) (string, error) {
	id, err := b.commit(ctx)
	if err != nil {
		b.body.Abort()
	}
	return id, err
}

func (b *Body) commit(ctx context.Context) (string, error) {
	if err := b.in.fits(ctx, &b.e, b.targets, b.size); err != nil {
		return "", err
	}
	d := mailbox.Delivery{ID: b.id, From: b.e.From, Received: b.in.o.Clock.Now(), Filings: make([]mailbox.Filing, len(b.targets))}
	for n, t := range b.targets {
		inbox, err := b.in.inbox(ctx, &b.e, t)
		if err != nil {
			return "", err
		}
		d.Filings[n] = mailbox.Filing{Account: t.Account, Mailbox: inbox, Rcpt: t.rcpt}
	}
	if _, _, err := b.in.mailboxes.Deliver(ctx, b.body, d); err != nil {
		return "", storeReply(err)
	}
	return b.id, nil
}

// Abort gives the message up.
func (b *Body) Abort() { b.body.Abort() }

// inbox finds the INBOX of an account, and makes it for one whose making was
// cut short by a crash.
func (i *Intake) inbox(ctx context.Context, e *smtp.Envelope, t target) (mailbox.ID, error) {
	info, err := i.mailboxes.Lookup(ctx, t.Account, "INBOX")
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		if _, gone := i.accounts.ByID(ctx, t.Account); gone != nil {
			return 0, i.changed(e, t.rcpt, gone)
		}
		i.o.Log.Warn("account has no INBOX: it gets one", telemetry.Account, uint64(t.Account))
		if err := i.mailboxes.Provision(ctx, t.Account); err != nil {
			return 0, storeReply(err)
		}
		info, err = i.mailboxes.Lookup(ctx, t.Account, "INBOX")
	}
	if err != nil {
		return 0, storeReply(err)
	}
	return info.ID, nil
}

// fits refuses a message of so many octets if it is larger than the quotas of
// all who are to get it.
func (i *Intake) fits(ctx context.Context, e *smtp.Envelope, ts []target, size int64) error {
	for _, t := range ts {
		a, err := i.accounts.ByID(ctx, t.Account)
		if err != nil {
			return i.changed(e, t.rcpt, err)
		}
		if a.QuotaBytes == 0 || size <= a.QuotaBytes {
			return nil
		}
	}
	return &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message is larger than the recipient's quota"}
}

// storeReply makes the client's answer of an error of the store: a full disk
// is said to be one, so that a sender tries again; all else is a local error.
func storeReply(err error) error {
	if errors.Is(err, journal.ErrFull) {
		return &smtp.Reply{Code: 452, Enhanced: "4.3.1", Text: "Insufficient system storage, try again later"}
	}
	return fmt.Errorf("store message: %w", err)
}
