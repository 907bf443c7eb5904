package intake

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// receivedMax is how many Received fields a message may come with: more is a
// loop. RFC 5321 §6.3 wants a limit of 100 at least.
const receivedMax = 100

// idBytes make an envelope id: 80 random bits never meet again.
const idBytes = 10

var (
	errTooLarge = &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message is larger than this host takes"}
	errLoop     = &smtp.Reply{Code: 554, Enhanced: "5.4.6", Text: "Mail loop: too many Received fields"}
)

// Body is one message on its way in. It belongs to one session.
type Body struct {
	in      *Intake
	e       smtp.Envelope
	id      string
	at      time.Time
	targets []target
	body    *mailbox.Body
	size    int64 // octets that came
	skip    int64 // octets of Return-Path
	hops    hopCounter
	away    bool    // some targets are elsewhere
	eight   bool    // … and an octet above 127 came
	head    *header // nil: nobody wants to see it

	// Of a message from one of our users.
	edit *submission // nil of all others
	left []byte      // its header as it leaves
	sig  Signature   // nil if nothing signs
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
	if err := i.reportsOnly(&e); err != nil {
		return nil, err
	}
	// What the client says of the size spares both of us the transfer.
	if err := i.fits(ctx, &e, ts, e.Size); err != nil {
		return nil, err
	}
	b := &Body{in: i, e: e, targets: ts, away: hasRemotes(ts), at: i.o.Clock.Now()}
	if b.id, err = i.newID(); err != nil {
		return nil, err
	}
	if i.askerOf(&e) == user {
		b.head, b.edit = new(header), i.submission(b)
	} else if b.away { // has it been here? what does it say of TLS?
		b.head = new(header)
	}
	if b.body, err = i.mailboxes.NewBody(ctx, b.prefix()); err != nil {
		return nil, storeReply(err)
	}
	return b, nil
}

// newID makes an envelope id.
func (i *Intake) newID() (string, error) {
	var random [idBytes]byte
	if _, err := io.ReadFull(i.o.Rand, random[:]); err != nil {
		return "", fmt.Errorf("make envelope id: %w", err)
	}
	return strings.ToLower(base32.HexEncoding.EncodeToString(random[:])), nil
}

// prefix returns our trace fields. The first of them stays here when the
// message is sent on.
func (b *Body) prefix() []byte {
	fields := trace(b.in.o.Hostname, b.id, &b.e, b.at)
	b.skip = int64(len(returnPath(b.e.From)))
	if via := forwardedAs(b.targets); !via.IsZero() {
		fields = slices.Insert(fields, int(b.skip), []byte("Delivered-To: "+smtp.TracePath(via)+"\r\n")...)
	}
	return fields
}

func hasForwards(ts []target) bool {
	for _, t := range ts {
		if t.Remote() && !t.Via.IsZero() {
			return true
		}
	}
	return false
}

// submission begins the header of a message of one of our users.
func (i *Intake) submission(b *Body) *submission {
	s := &submission{id: b.id, hostname: i.o.Hostname, date: b.at.Format(headerDate), sender: b.e.From}
	if s.sender.IsZero() {
		s.sender = b.e.User
	}
	if !i.o.AnyFrom {
		s.maySend = func(a message.Address) bool { return i.accounts.MaySend(account.ID(b.e.Account), a) }
	}
	return s
}

// Write takes octets of the body as they arrive.
func (b *Body) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	if b.size > b.in.o.MessageSize {
		return 0, errTooLarge
	}
	b.hops.write(p)
	if b.hops.received > receivedMax {
		return 0, errLoop
	}
	b.eight = b.eight || b.away && hasEightBit(p)
	if err := b.take(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func hasEightBit(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// take stores p, or holds it while it is of a header to be edited.
func (b *Body) take(p []byte) error {
	switch {
	case b.head == nil || b.head.done && b.edit == nil:
		return b.store(p)
	case b.edit == nil: // only looked at
		if _, _, err := b.head.write(p); err != nil {
			b.head.done = true // what has been seen of it must do
		}
		return b.store(p)
	case b.head.done:
		return b.content(p)
	}
	begun, rest, err := b.head.write(p)
	if err != nil || !b.head.done {
		return err
	}
	if err := b.leave(); err != nil {
		return err
	}
	return errors.Join(b.content(begun), b.content(rest))
}

// leave stores the header as it leaves, and begins the signature.
func (b *Body) leave() (err error) {
	if b.left, err = b.edit.edit(b.head.raw); err != nil {
		return err
	}
	b.head.raw = nil
	if b.in.o.Signer != nil && b.away && b.signs() {
		b.sig = b.in.o.Signer.Begin(b.edit.author.Domain)
	}
	if err := b.store(b.left); err != nil {
		return err
	}
	return b.store([]byte("\r\n"))
}

// signs tells whether the author's domain may answer for a user's message: not
// if the author is another's, which Options.AnyFrom lets through.
func (b *Body) signs() bool {
	author := b.edit.author
	return !author.IsZero() && b.in.accounts.MaySend(account.ID(b.e.Account), author)
}

func hasRemotes(ts []target) bool {
	for _, t := range ts {
		if t.Remote() {
			return true
		}
	}
	return false
}

// content takes octets of what follows the header.
func (b *Body) content(p []byte) error {
	if b.sig != nil {
		if _, err := b.sig.Write(p); err != nil {
			return fmt.Errorf("sign body: %w", err)
		}
	}
	return b.store(p)
}

func (b *Body) store(p []byte) error {
	if _, err := b.body.Write(p); err != nil {
		return storeReply(err)
	}
	return nil
}

// end ends a message of which there is no more.
func (b *Body) end() error {
	if b.head == nil || b.head.done {
		return nil
	}
	begun := b.head.end()
	if b.edit == nil {
		return nil
	}
	if err := b.leave(); err != nil {
		return err
	}
	return b.content(begun)
}

// Abort gives the message up.
func (b *Body) Abort() { b.body.Abort() }

// inbox finds the INBOX of an account, and makes it for one whose making was
// cut short by a crash. The error is a verdict of package account if the
// account is gone.
func (i *Intake) inbox(ctx context.Context, id account.ID) (mailbox.ID, error) {
	info, err := i.mailboxes.Lookup(ctx, id, "INBOX")
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		if _, gone := i.accounts.ByID(ctx, id); gone != nil {
			return 0, gone
		}
		i.o.Log.Warn("account has no INBOX: it gets one", telemetry.Account, uint64(id))
		if err := i.mailboxes.Provision(ctx, id); err != nil {
			return 0, storeReply(err)
		}
		info, err = i.mailboxes.Lookup(ctx, id, "INBOX")
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
		if t.Remote() {
			return nil
		}
		a, err := i.accounts.ByID(ctx, t.Account)
		if err != nil {
			return i.changed(e, t.named.To, err)
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
