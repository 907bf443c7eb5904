package restraint

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// Accounts are what a Guard asks of store/account, and where it notes a hold.
type Accounts interface {
	ByID(ctx context.Context, id account.ID) (account.Account, error)
	Resolve(ctx context.Context, rcpt message.Address) ([]account.Recipient, error)
	Hold(ctx context.Context, id account.ID, reason string) error
}

// holdWait bounds the wait for a hold to be durable. What could not be noted in
// this time is noted at the next recipient: the verdict stays the same.
const holdWait = 10 * time.Second

// Guard joins a Restraint to the accounts: who is held is refused, and who is
// to be held is held before the answer is given. It may be used concurrently.
type Guard struct {
	r        *Restraint
	accounts Accounts
	log      *slog.Logger
}

// NewGuard makes a Guard.
func NewGuard(r *Restraint, accounts Accounts, log *slog.Logger) *Guard {
	return &Guard{r: r, accounts: accounts, log: telemetry.Logger(log, "restraint")}
}

// Recipient says at RCPT whether the user of e may write to to: nil, or the
// refusal.
func (g *Guard) Recipient(e *smtp.Envelope, to message.Address) *smtp.Reply {
	s, refusal := g.sender(e)
	if refusal != nil {
		return refusal
	}
	return g.act(s.Account, g.r.Recipient(s, to, !g.elsewhere(to)))
}

// Message says, when the body has ended, whether the message may go.
func (g *Guard) Message(e *smtp.Envelope) *smtp.Reply {
	s, refusal := g.sender(e)
	if refusal != nil {
		return refusal
	}
	var far []message.Address
	for _, r := range e.Recipients {
		if g.elsewhere(r.To) {
			far = append(far, r.To)
		}
	}
	return g.act(s.Account, g.r.Message(s, far))
}

// Withdrawn is Restraint.Withdrawn.
func (g *Guard) Withdrawn(e *smtp.Envelope, n int) {
	a, err := g.accounts.ByID(context.Background(), account.ID(e.Account)) // reads memory
	if err != nil {
		return // it is no more
	}
	g.r.Withdrawn(senderOf(e, a), n)
}

// Heard is Restraint.Heard.
func (g *Guard) Heard(id account.ID, from message.Address) { g.r.Heard(id, from) }

// Relayed is Restraint.Relayed.
func (g *Guard) Relayed(id account.ID) { g.r.Relayed(id) }

// Bounced tells that a recipient was refused for good, and holds the account
// if that is one too many. It may wait for the journal.
func (g *Guard) Bounced(id account.ID) { g.act(id, g.r.Bounced(id)) }

// sender is who asks, or why nothing is taken from them.
func (g *Guard) sender(e *smtp.Envelope) (Sender, *smtp.Reply) {
	id := account.ID(e.Account)
	a, err := g.accounts.ByID(context.Background(), id) // reads memory
	switch {
	case errors.Is(err, account.ErrNoSuchUser):
		return Sender{}, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "This account is no more"}
	case err != nil:
		g.log.Error("account cannot be looked up", telemetry.Account, uint64(id), telemetry.Err, err)
		return Sender{}, &smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "The account cannot be looked up now"}
	case a.Hold.On():
		return Sender{}, HeldReply(a.Hold.Reason)
	}
	return senderOf(e, a), nil
}

func senderOf(e *smtp.Envelope, a account.Account) Sender {
	return Sender{Account: a.ID, IP: e.RemoteIP, Hour: a.SendHour, Day: a.SendDay}
}

// elsewhere tells whether an address is at another host.
func (g *Guard) elsewhere(to message.Address) bool {
	_, err := g.accounts.Resolve(context.Background(), to) // reads memory
	return errors.Is(err, account.ErrNotLocal)
}

// act makes a hold of the verdict to hold.
func (g *Guard) act(id account.ID, a Answer) *smtp.Reply {
	if a.Verdict == Hold {
		ctx, cancel := context.WithTimeout(context.Background(), holdWait)
		defer cancel()
		if err := g.accounts.Hold(ctx, id, a.Reason); err != nil {
			g.log.Error("account is to be held and that cannot be noted", telemetry.Account, uint64(id), telemetry.Reason, a.Reason, telemetry.Err, err)
		} else {
			g.log.Warn("account is held", telemetry.Account, uint64(id), telemetry.Reason, a.Reason)
		}
	}
	return a.Reply()
}
