package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// accountsMax bounds the accounts that one message is filed for after aliases
// are expanded: 1,000 recipients of ten people each, and as many as
// store/mailbox files with one record.
const accountsMax = 10_000

// Options of an Intake. The zero value of each field has a default.
type Options struct {
	Hostname    string // in Received; "localhost" if empty
	Submission  bool   // for our own users, who are told why mail for other hosts is refused
	MessageSize int64  // octets; 50 MiB if 0
	Clock       sys.Clock
	Rand        io.Reader // makes envelope ids; sys.Rand if nil
	// Ready says why mail cannot be taken now, nil if it can: it spares a
	// sender from waiting for a store that does not answer. nil: it always can.
	Ready func() error
	Log   *slog.Logger // nil: none

	// Queue carries mail to other hosts. nil: this host sends none, and
	// refuses recipients elsewhere.
	Queue Queue
	// Routed tells which of our domains have mailboxes on an inner server:
	// what nobody here is called goes on to it. A domain that is not of the
	// store is not ours, whatever this says: a next hop for a stranger's
	// domain opens no relay to it. nil: none.
	Routed func(message.Domain) bool
	// Behind tells the domains of a server that this host stands in front of:
	// strangers may write to them, and all of it is queued. nil: there are
	// none.
	Behind func(message.Domain) bool
	// SRS rewrites the senders of forwarded mail; nil: they stay.
	SRS Rewriter
	// Signer signs what users and the host itself send; nil: nobody does.
	Signer Signer
	// Limiter restrains users; nil: nobody does.
	Limiter Limiter
	// Correspondents learns whom users write to; nil: nobody does.
	Correspondents Correspondents
	// Owes is called when a report of success has come to be owed: it wakes
	// RunReceipts. nil: nothing is woken.
	Owes func()
	// AnyFrom lets users write whatever they like into From and Sender; the
	// envelope's sender is theirs in any case.
	AnyFrom bool
}

// Intake takes messages in. Its methods may be called concurrently.
type Intake struct {
	o         Options
	accounts  *account.Store
	mailboxes *mailbox.Store
}

// New returns an Intake that files into mailboxes for the people of accounts.
func New(o Options, accounts *account.Store, mailboxes *mailbox.Store) *Intake {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.MessageSize == 0 {
		o.MessageSize = 50 << 20
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Owes == nil {
		o.Owes = func() {}
	}
	o.Log = telemetry.Logger(o.Log, "intake")
	return &Intake{o: o, accounts: accounts, mailboxes: mailboxes}
}

// Sender says whether a transaction may begin: the store must be able to take
// mail, and who has logged in may only send as an address of its own (RFC 6409
// §6.1).
func (i *Intake) Sender(_ context.Context, e *smtp.Envelope) error {
	if err := i.o.Ready(); err != nil {
		return fmt.Errorf("store is not ready: %w", err)
	}
	if e.Account == 0 || i.accounts.MaySend(account.ID(e.Account), e.From) {
		return nil
	}
	return &smtp.Reply{Code: 553, Enhanced: "5.7.1", Text: fmt.Sprintf("%s is not an address of %s", e.From, e.User)}
}

// Recipient says whether a stranger may send mail to to: nil, or the
// *smtp.Reply that refuses it, or a fault.
func (i *Intake) Recipient(ctx context.Context, _, to message.Address) error {
	return i.Rcpt(ctx, &smtp.Envelope{}, to)
}

// Rcpt says whether the sender of e, who may have logged in, may send mail to
// to: nil, or the *smtp.Reply that refuses it, or a fault.
func (i *Intake) Rcpt(ctx context.Context, e *smtp.Envelope, to message.Address) error {
	who := i.askerOf(e)
	ts, err := i.expand(ctx, who, to)
	if err != nil {
		return err
	}
	if err := i.queueable(to, ts); err != nil {
		return err
	}
	if err := i.withinQuota(ctx, ts); err != nil {
		return err
	}
	if who == user && i.o.Limiter != nil { // last, since it counts what it allows
		if r := i.o.Limiter.Recipient(e, to); r != nil {
			return r
		}
	}
	return nil
}

// withinQuota refuses mail while all who would get it are over their quotas.
func (i *Intake) withinQuota(ctx context.Context, ts []target) error {
	for _, t := range ts {
		if t.Remote() {
			return nil
		}
		room, err := i.hasRoom(ctx, t.Account)
		if err != nil {
			return err
		}
		if room {
			return nil
		}
	}
	return &smtp.Reply{Code: 452, Enhanced: "4.2.2", Text: "The recipient's mailbox is full, try again later"}
}

// hasRoom tells whether an account is within its quota.
func (i *Intake) hasRoom(ctx context.Context, id account.ID) (bool, error) {
	a, err := i.accounts.ByID(ctx, id)
	if err != nil {
		return false, fmt.Errorf("look up recipient: %w", err)
	}
	if a.QuotaBytes == 0 {
		return true, nil
	}
	used, _, err := i.mailboxes.Usage(ctx, id)
	if err != nil {
		return false, fmt.Errorf("usage of recipient: %w", err)
	}
	return used < a.QuotaBytes, nil
}

// isVerdict tells an answer of Resolve from a fault behind it.
func isVerdict(err error) bool {
	for _, v := range []error{account.ErrNotLocal, account.ErrNoSuchUser, account.ErrDisabled, account.ErrAliasLoop, account.ErrTooManyTargets} {
		if errors.Is(err, v) {
			return true
		}
	}
	return false
}

// refusal makes the answer to RCPT TO of what Resolve said.
func (i *Intake) refusal(to message.Address, err error) error {
	switch {
	case errors.Is(err, account.ErrNotLocal) && i.o.Submission:
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "This host does not send mail to other hosts yet, and " + string(to.Domain) + " is not one of its domains"}
	case errors.Is(err, account.ErrNotLocal):
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied: " + string(to.Domain) + " is not one of our domains"}
	case errors.Is(err, account.ErrNoSuchUser):
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user here: " + to.String()}
	case errors.Is(err, account.ErrDisabled):
		return &smtp.Reply{Code: 550, Enhanced: "5.2.1", Text: "This mailbox is disabled: " + to.String()}
	case errors.Is(err, account.ErrAliasLoop), errors.Is(err, account.ErrTooManyTargets):
		return &smtp.Reply{Code: 550, Enhanced: "5.4.6", Text: "The alias " + to.String() + " cannot be expanded; tell its postmaster"}
	default:
		return fmt.Errorf("resolve recipient: %w", err)
	}
}

// changed answers for a recipient that was accepted and is refused now: when
// others were accepted beside it, they shall not be refused for good with it.
func (i *Intake) changed(e *smtp.Envelope, to message.Address, err error) error {
	if len(e.Recipients) == 1 || !isVerdict(err) {
		return i.refusal(to, err)
	}
	return &smtp.Reply{Code: 451, Enhanced: "4.2.0", Text: "A recipient has changed just now, try again: " + to.String()}
}
