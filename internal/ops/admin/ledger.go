package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// The requests about the books, and about who is told when they are wrong.
// "ledger" and "trace" need no running host.
const (
	LedgerClose Op = "ledger"
	Trace       Op = "trace"
	AlarmList   Op = "alarm list"
	AlarmTest   Op = "alarm test"
)

const traceMax = 1000 // octets of a Message-ID: a line of RFC 5322 §2.1.1

// Ledger is the books; *ledger.Ledger is one.
type Ledger interface {
	// Close sums up a period.
	Close(ctx context.Context, p ledger.Period) (ledger.Books, error)
	// Trace tells the lives of messages, newest first.
	Trace(ctx context.Context, q ledger.Query) (ledger.Lives, error)
	// Audited is what the last audit found; nil: there was none.
	Audited() *ledger.Result
}

// Alarms is who is told when something is wrong; *alarm.Alarms is one.
type Alarms interface {
	// List gives the alarms that are up, oldest first.
	List() []alarm.Alarm
	// Test sends a notice to each sink and tells what became of it.
	Test(ctx context.Context) []alarm.Test
}

// LedgerRequest asks for the books of a period.
type LedgerRequest struct {
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Account string    `json:"account,omitempty"` // address
}

// LedgerAnswer is the books and what the last audit said.
type LedgerAnswer struct {
	Books ledger.Books   `json:"books"`
	Audit *ledger.Result `json:"audit,omitempty"`
}

// AlarmAnswer is the answer to a request about alarms.
type AlarmAnswer struct {
	Alarms []alarm.Alarm `json:"alarms,omitempty"`
	Tests  []alarm.Test  `json:"tests,omitempty"`
}

var (
	errNoLedger = errors.New("this host keeps no books")
	errNoAlarms = errors.New("no running host to ask; start it with `breakwater serve` or `breakwater demo`")
)

func (x *Executor) ledger(ctx context.Context, q Request, a *Answer) error {
	if x.Ledger == nil {
		return errNoLedger
	}
	var p ledger.Period
	if q.Ledger != nil {
		p.Since, p.Until = q.Ledger.Since, q.Ledger.Until
		id, err := x.accountID(ctx, q.Ledger.Account)
		if err != nil {
			return err
		}
		p.Account = id
	}
	if !p.Until.IsZero() && !p.Since.Before(p.Until) {
		return errors.New("the period ends before it begins")
	}
	books, err := x.Ledger.Close(ctx, p)
	a.Ledger = &LedgerAnswer{Books: books, Audit: x.Ledger.Audited()}
	return err
}

// accountID finds an account; "" is none.
func (x *Executor) accountID(ctx context.Context, address string) (account.ID, error) {
	if address == "" {
		return 0, nil
	}
	addr, err := parseAddress(address)
	if err != nil {
		return 0, err
	}
	acct, err := x.Accounts.Get(ctx, addr)
	if errors.Is(err, account.ErrNoSuchUser) {
		return 0, fmt.Errorf("no account %s; `breakwater account list` lists them", address)
	}
	return acct.ID, err
}

func (x *Executor) trace(ctx context.Context, q Request, a *Answer) error {
	if x.Ledger == nil {
		return errNoLedger
	}
	if q.Trace == nil || q.Trace.What == "" {
		return errors.New("give the id of a message, its Message-ID, or an address")
	}
	if len(q.Trace.What) > traceMax {
		return fmt.Errorf("what is looked for has more than %d octets", traceMax)
	}
	lives, err := x.Ledger.Trace(ctx, *q.Trace)
	a.Lives = &lives
	return err
}

func (x *Executor) alarmList(_ context.Context, _ Request, a *Answer) error {
	if x.Alarms == nil {
		return errNoAlarms
	}
	a.Alarm = &AlarmAnswer{Alarms: x.Alarms.List()}
	return nil
}

func (x *Executor) alarmTest(ctx context.Context, _ Request, a *Answer) error {
	if x.Alarms == nil {
		return errNoAlarms
	}
	a.Alarm = &AlarmAnswer{Tests: x.Alarms.Test(ctx)}
	return nil
}
