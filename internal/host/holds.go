package host

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
	"github.com/breakwater-mail/breakwater/internal/spool/intake"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/restraint"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// noticesMax bounds the notices of holds that wait to be written: more at once
// are a raid, of which the alarms tell.
const noticesMax = 256

// holds sees to it that what an account that is held has sent stays here, and
// that its owner and the operators are told.
type holds struct {
	hostname string
	store    *Store
	out      *out
	alarms   *alarm.Alarms
	notices  chan account.Account
	origins  origins
	log      *slog.Logger
}

// newHolds takes over the holds of earlier runs, and hears of new ones.
func newHolds(ctx context.Context, c Config, s *Store, o *out, a *alarm.Alarms, released func(account.ID), log *slog.Logger) (*holds, error) {
	h := &holds{hostname: c.Hostname, store: s, out: o, alarms: a, notices: make(chan account.Account, noticesMax), log: telemetry.Logger(log, "holds")}
	h.origins = origins{networks: o.learned.Networks, alarms: a, name: func(ctx context.Context, id account.ID) (message.Address, error) {
		a, err := s.Accounts.ByID(ctx, id)
		return a.Address, err
	}}
	s.Accounts.OnHold(func(a account.Account) {
		h.held(a)
		select {
		case h.notices <- a:
		default:
			h.log.Warn("no mail tells of this hold: too many at once", telemetry.Account, uint64(a.ID))
		}
	})
	s.Accounts.OnRelease(func(a account.Account) {
		o.queue.ReleaseAccount(a.ID)
		h.alarms.Clear(holdKey(a))
		released(a.ID)
	})
	all, err := s.Accounts.Accounts(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for accounts that are held: %w", err)
	}
	for _, a := range all {
		if a.Hold.On() {
			h.held(a)
		}
	}
	return h, nil
}

func holdKey(a account.Account) string { return alarm.KeyHeld + a.Address.String() }

// held stops what the account has sent, and tells the operators by the roads
// that do not lead through the queue.
func (h *holds) held(a account.Account) {
	h.out.queue.HoldAccount(a.ID, "outgoing mail of "+a.Address.String()+" is held: "+a.Hold.Reason)
	h.alarms.Raise(holdKey(a), alarm.Warning, fmt.Sprintf("outgoing mail of %s is held: %s", a.Address, a.Hold.Reason), alarm.Facts{
		"account": a.Address.String(), "since": a.Hold.Since.UTC().Format(time.RFC3339),
		"release": "breakwater account release " + a.Address.String() + ", or a new password",
	})
}

// run writes the notices until ctx ends.
func (h *holds) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-h.notices:
			if err := h.notify(ctx, a); err != nil {
				h.log.Error("notice of a hold not sent", telemetry.Account, uint64(a.ID), telemetry.Err, err)
			}
		}
	}
}

// notify writes to the administrators and to the owner's other address: the
// account's own mailbox may be read by whoever has its password.
func (h *holds) notify(ctx context.Context, a account.Account) error {
	var to []message.Address
	all, err := h.store.Accounts.Accounts(ctx)
	if err != nil {
		return fmt.Errorf("look for administrators: %w", err)
	}
	for _, other := range all {
		if other.Admin && !other.Disabled && other.ID != a.ID {
			to = append(to, other.Address)
		}
	}
	if !a.Contact.IsZero() {
		to = append(to, a.Contact)
	}
	if len(to) == 0 {
		h.log.Warn("nobody to write to of a hold: no other administrator, no contact address", telemetry.Account, uint64(a.ID))
		return nil
	}
	_, err = h.out.own.Post(ctx, intake.Post{To: to, Body: h.text(a, to, time.Now())})
	return err
}

func (h *holds) text(a account.Account, to []message.Address, now time.Time) []byte {
	names := make([]string, len(to))
	for i, t := range to {
		names[i] = "<" + t.String() + ">"
	}
	text := fmt.Sprintf(`From: Mail service of %[1]s <postmaster@%[1]s>
To: %[2]s
Subject: Outgoing mail of %[3]s is held
Date: %[4]s
Message-ID: <hold-%[5]d-%[6]d@%[1]s>
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Since %[7]s this host sends nothing more for %[3]s:

  %[8]s

What the account had sent before and is still here waits, and new mail is
answered with a request to try again later. Mail to the account still arrives.

If its owner did not send this, somebody else has the password. Choose a new
one: then the owner can send again, and what was sent before goes on waiting.
Look at it, and fail or release it:

  breakwater account password %[3]s
  breakwater queue list --account %[3]s
  breakwater queue fail --account %[3]s --reason "..."
  breakwater queue release --account %[3]s

If all was well, end the hold without a new password. What waits goes out:

  breakwater account release %[3]s
`, h.hostname, strings.Join(names, ",\n "), a.Address, now.Format("Mon, 02 Jan 2006 15:04:05 -0700"), a.ID, a.Hold.Since.Unix(),
		a.Hold.Since.UTC().Format("2006-01-02 15:04 UTC"), a.Hold.Reason)
	return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
}

// observed tells the guard how the mail of accounts fares.
type observed struct {
	queue.Carrier
	guard *restraint.Guard
}

// Carry implements queue.Carrier.
func (o observed) Carry(ctx context.Context, j queue.Job) queue.Result {
	r := o.Carrier.Carry(ctx, j)
	if j.Message.Account == 0 {
		return r
	}
	for i := range r.Outcomes {
		switch r.Outcomes[i].State {
		case fate.Relayed:
			o.guard.Relayed(j.Message.Account)
		case fate.Bounced:
			o.guard.Bounced(j.Message.Account)
		}
	}
	return r
}
