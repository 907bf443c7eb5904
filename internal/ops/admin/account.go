package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/restraint"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// The requests about what an account may have besides a mailbox.
const (
	AccountShow    Op = "account show"
	AppAdd         Op = "account app-password add"
	AppList        Op = "account app-password list"
	AppRemove      Op = "account app-password remove"
	AccountGrant   Op = "account grant"
	AccountRevoke  Op = "account revoke"
	AccountContact Op = "account contact"
	AccountForward Op = "account forward"
	AccountHold    Op = "account hold"
	AccountRelease Op = "account release"

	AccountNetworks Op = "account networks" // only a running host can answer it
)

// Sending knows what accounts send; a *restraint.Restraint does.
type Sending interface {
	Standing(s restraint.Sender) restraint.Standing
	// Networks tells from where they send, the busiest first.
	Networks() []restraint.Network
}

// AccountRequest is what the requests above need besides the address. Targets
// of a forward are Request.Targets.
type AccountRequest struct {
	Name     string   `json:"name,omitempty"`  // of an app password
	Scope    []string `json:"scope,omitempty"` // smtp, imap, pop3; none is all
	SendAs   string   `json:"send_as,omitempty"`
	Contact  string   `json:"contact,omitempty"` // "" is none
	NoCopy   bool     `json:"no_copy,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	SendHour *int64   `json:"send_hour,omitempty"` // recipients; 0 is the default
	SendDay  *int64   `json:"send_day,omitempty"`
}

// AppPassword is a row of "account app-password list".
type AppPassword struct {
	Name    string    `json:"name"`
	Scope   []string  `json:"scope"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"last_used,omitzero"`
}

// AccountDetails is the answer to "account show".
type AccountDetails struct {
	Account
	Contact      string          `json:"contact,omitempty"`
	Forward      []string        `json:"forward,omitempty"`
	NoCopy       bool            `json:"no_copy,omitempty"`
	SendAs       []string        `json:"send_as,omitempty"`
	AppPasswords []AppPassword   `json:"app_passwords,omitempty"`
	Sending      *SendingDetails `json:"sending,omitempty"` // only of a running host
}

// SendingDetails is what an account sends, in recipients.
type SendingDetails struct {
	Hour      int `json:"hour"` // in the last hour
	Day       int `json:"day"`
	HourLimit int `json:"hour_limit"`
	DayLimit  int `json:"day_limit"`
	UsualHour int `json:"usual_hour"` // in an hour in which it sends
	UsualDay  int `json:"usual_day"`
	Strangers int `json:"strangers"` // written to lately for the first time
	Room      int `json:"room"`      // how many more before it is held
	Known     int `json:"known"`
	Networks  int `json:"networks"` // in the last hour
	Results   int `json:"results"`  // the last ones
	Bounced   int `json:"bounced"`  // of those
}

// SendingNetwork is a row of "account networks": a network that accounts send
// from, in recipients of all of them.
type SendingNetwork struct {
	Network   netip.Prefix `json:"network"`
	Hour      int          `json:"hour"` // in the last hour
	Day       int          `json:"day"`
	HourLimit int          `json:"hour_limit"`
	DayLimit  int          `json:"day_limit"`
	Newcomers []string     `json:"newcomers,omitempty"` // accounts that began within a day to write to strangers from there
	Crowded   bool         `json:"crowded,omitempty"`   // they are too many to be chance
	Last      time.Time    `json:"last"`
}

// accountNetworks tells from where accounts send.
func (x *Executor) accountNetworks(ctx context.Context, q Request, a *Answer) error {
	if x.Sending == nil {
		return ErrNoQueue
	}
	a.Networks = []SendingNetwork{}
	for _, n := range x.Sending.Networks() {
		if q.Limit > 0 && len(a.Networks) == q.Limit {
			break
		}
		row := SendingNetwork{
			Network: n.Network, Hour: n.Hour, Day: n.Day, HourLimit: n.HourLimit, DayLimit: n.DayLimit, Crowded: n.Crowded, Last: n.Last,
		}
		for _, id := range n.Newcomers {
			acct, err := x.Accounts.ByID(ctx, id)
			if errors.Is(err, account.ErrNoSuchUser) {
				continue // it is no more
			}
			if err != nil {
				return err
			}
			row.Newcomers = append(row.Newcomers, acct.Address.String())
		}
		a.Networks = append(a.Networks, row)
	}
	return nil
}

// about gives the account that a request is about, and what else it says.
func (x *Executor) about(ctx context.Context, q Request) (account.Account, AccountRequest, error) {
	addr, err := parseAddress(q.Address)
	if err != nil {
		return account.Account{}, AccountRequest{}, err
	}
	var r AccountRequest
	if q.Account != nil {
		r = *q.Account
	}
	a, err := x.Accounts.Get(ctx, addr)
	return a, r, err
}

func (x *Executor) row(ctx context.Context, r account.Account) (Account, error) {
	bytes, messages, err := x.Mailboxes.Usage(ctx, r.ID)
	if err != nil {
		return Account{}, fmt.Errorf("usage of %s: %w", r.Address, err)
	}
	return Account{
		Address: r.Address.String(), Admin: r.Admin, Disabled: r.Disabled,
		Messages: messages, Bytes: bytes, Quota: r.QuotaBytes, Created: r.Created.UTC(),
		SendHour: r.SendHour, SendDay: r.SendDay, Held: r.Hold.Since, HoldReason: r.Hold.Reason,
	}, nil
}

func (x *Executor) accountShow(ctx context.Context, q Request, a *Answer) error {
	acct, _, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	d := &AccountDetails{}
	if d.Account, err = x.row(ctx, acct); err != nil {
		return err
	}
	if !acct.Contact.IsZero() {
		d.Contact = acct.Contact.String()
	}
	f, err := x.Accounts.Forward(ctx, acct.Address)
	if err != nil {
		return err
	}
	d.Forward, d.NoCopy = texts(f.Targets), f.NoCopy
	grants, err := x.Accounts.Grants(ctx, acct.Address)
	if err != nil {
		return err
	}
	d.SendAs = texts(grants)
	if d.AppPasswords, err = x.apps(ctx, acct.Address); err != nil {
		return err
	}
	if x.Sending != nil {
		s := SendingDetails(x.Sending.Standing(restraint.Sender{Account: acct.ID, Hour: acct.SendHour, Day: acct.SendDay}))
		d.Sending = &s
	}
	a.Details = d
	return nil
}

// texts prints addresses; one without local part is a whole domain.
func texts(list []message.Address) []string {
	var out []string
	for _, a := range list {
		if a.Local == "" {
			out = append(out, "@"+string(a.Domain))
		} else {
			out = append(out, a.String())
		}
	}
	return out
}

func (x *Executor) apps(ctx context.Context, addr message.Address) ([]AppPassword, error) {
	list, err := x.Accounts.AppPasswords(ctx, addr)
	var out []AppPassword
	for _, p := range list {
		out = append(out, AppPassword{Name: p.Name, Scope: scopeNames(p.Scope), Created: p.Created, Used: p.Used})
	}
	return out, err
}

// scopes are the services by their names.
func scopes() map[string]account.Scope {
	return map[string]account.Scope{"smtp": account.SMTP, "imap": account.IMAP, "pop3": account.POP3}
}

func scopeNames(s account.Scope) []string {
	out := []string{}
	for name, one := range scopes() {
		if s&one != 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (x *Executor) appAdd(ctx context.Context, q Request, a *Answer) error {
	acct, r, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	var scope account.Scope
	for _, name := range r.Scope {
		one, ok := scopes()[strings.ToLower(name)]
		if !ok {
			return fmt.Errorf("no service %q; there are smtp, imap and pop3", name)
		}
		scope |= one
	}
	if scope == 0 {
		scope = account.AllScopes
	}
	a.Password, err = x.Accounts.AddAppPassword(ctx, acct.Address, r.Name, scope)
	if errors.Is(err, account.ErrExists) {
		return fmt.Errorf("%s has an app password %q already; remove it first, or take another name", acct.Address, r.Name)
	}
	return err
}

func (x *Executor) appList(ctx context.Context, q Request, a *Answer) error {
	acct, _, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	a.AppPasswords, err = x.apps(ctx, acct.Address)
	return err
}

func (x *Executor) appRemove(ctx context.Context, q Request, _ *Answer) error {
	acct, r, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	err = x.Accounts.RemoveAppPassword(ctx, acct.Address, r.Name)
	if errors.Is(err, account.ErrNoSuchAppPassword) {
		return fmt.Errorf("%s has no app password %q; `breakwater account app-password list %s` lists them", acct.Address, r.Name, acct.Address)
	}
	return err
}

func (x *Executor) accountGrant(on bool) func(context.Context, Request, *Answer) error {
	return func(ctx context.Context, q Request, _ *Answer) error {
		acct, r, err := x.about(ctx, q)
		if err != nil {
			return err
		}
		as, err := parseAlias(r.SendAs)
		if err != nil {
			return err
		}
		if !on {
			err = x.Accounts.RemoveGrant(ctx, acct.Address, as)
		} else {
			err = x.Accounts.AddGrant(ctx, acct.Address, as)
		}
		switch {
		case errors.Is(err, account.ErrExists):
			return fmt.Errorf("%s may send as %s already", acct.Address, r.SendAs)
		case errors.Is(err, account.ErrNoSuchGrant):
			return fmt.Errorf("%s has no grant to send as %s; `breakwater account show %s` lists them", acct.Address, r.SendAs, acct.Address)
		}
		return err
	}
}

func (x *Executor) accountContact(ctx context.Context, q Request, _ *Answer) error {
	acct, r, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	var contact message.Address
	if r.Contact != "" {
		if contact, err = parseAddress(r.Contact); err != nil {
			return err
		}
	}
	return x.Accounts.SetContact(ctx, acct.Address, contact)
}

func (x *Executor) accountForward(ctx context.Context, q Request, _ *Answer) error {
	acct, r, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	f := account.Forward{NoCopy: r.NoCopy}
	for _, t := range q.Targets {
		addr, err := parseAddress(t)
		if err != nil {
			return err
		}
		f.Targets = append(f.Targets, addr)
	}
	return targetError(x.Accounts.SetForward(ctx, acct.Address, f))
}

// targetError keeps a target that is nobody's from being told as if the
// account were.
func targetError(err error) error {
	if errors.Is(err, account.ErrNoSuchUser) {
		return errors.New(err.Error())
	}
	return err
}

func (x *Executor) accountHold(ctx context.Context, q Request, a *Answer) error {
	acct, r, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	if acct.Hold.On() {
		a.Notes = append(a.Notes, fmt.Sprintf("held already since %s: %s", acct.Hold.Since.Format(time.RFC3339), acct.Hold.Reason))
		return nil
	}
	if strings.TrimSpace(r.Reason) == "" {
		return errors.New("a hold needs a reason: its owner is told")
	}
	return x.Accounts.Hold(ctx, acct.ID, r.Reason)
}

func (x *Executor) accountRelease(ctx context.Context, q Request, a *Answer) error {
	acct, _, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	if !acct.Hold.On() {
		a.Notes = append(a.Notes, "was not held")
		return nil
	}
	a.Notes = append(a.Notes, "held since "+acct.Hold.Since.Format(time.RFC3339)+": "+acct.Hold.Reason)
	return x.Accounts.Release(ctx, acct.ID)
}

func (x *Executor) accountPassword(ctx context.Context, q Request, a *Answer) error {
	acct, _, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	apps, err := x.apps(ctx, acct.Address)
	if err != nil {
		return err
	}
	kept := ""
	if acct.Hold.On() && x.Queue != nil {
		if kept, err = x.keepQueued(ctx, acct); err != nil {
			return fmt.Errorf("keep what waits: %w", queueError(queue.Selection{}, err))
		}
	}
	if err := x.Accounts.SetPassword(ctx, acct.Address, q.Password); err != nil {
		if errors.Is(err, account.ErrSamePassword) {
			return fmt.Errorf("%s is held (%s), and this is the password it has; give it a new one%s", acct.Address, acct.Hold.Reason, kept)
		}
		return err
	}
	if !acct.Hold.On() {
		return nil
	}
	if x.Queue == nil {
		if err := x.Accounts.Hold(ctx, acct.ID, "new password; what it sent before waits to be looked at"); err != nil {
			return fmt.Errorf("keep what waits: %w", err)
		}
		a.Notes = append(a.Notes, fmt.Sprintf("what it sends is still held, since no host runs that could keep what waits of it: start the host, "+
			"look with `breakwater queue list --account %[1]s`, fail what nobody should get with `breakwater queue fail ID --reason \"...\"`, "+
			"and let the rest go with `breakwater account release %[1]s`", acct.Address))
	} else {
		a.Notes = append(a.Notes, "the hold of what it sends has ended"+kept)
	}
	for _, p := range apps {
		a.Notes = append(a.Notes, fmt.Sprintf("app password %q was removed: nobody knows which password was in the wrong hands", p.Name))
	}
	return nil
}

const (
	// lookAt says what to do about what an account sent before.
	lookAt = "look with `breakwater queue list --account %[1]s`, then `breakwater queue fail --account %[1]s --reason \"...\"` or `breakwater queue release --account %[1]s`"
	// keptRowsMax bounds what is counted of what waits, in recipients: more says
	// nothing more.
	keptRowsMax = 1000
)

// keepQueued has what an account has sent and is still here wait until somebody
// has looked at it: a new password says that the old one was in wrong hands. That
// is durable before the hold of the account ends. It tells what waits now: an
// earlier attempt may have kept it already.
func (x *Executor) keepQueued(ctx context.Context, acct account.Account) (string, error) {
	all := queue.Selection{Account: acct.ID}
	_, err := x.Queue.Act(ctx, queue.Hold, all,
		queue.Args{Reason: "sent before " + acct.Address.String() + ", which was held, got a new password", By: "an operator"})
	if err != nil {
		return "", err
	}
	rows, err := x.Queue.List(ctx, all, keptRowsMax)
	if err != nil {
		return "", err
	}
	busy := 0
	for _, r := range rows {
		if r.Active {
			busy++
		}
	}
	kept := ""
	switch n := len(rows) - busy; {
	case len(rows) == 0:
		return ". Nothing waits that it sent before", nil
	case len(rows) == keptRowsMax:
		kept = fmt.Sprintf(". More than %d recipients of what it sent before go on waiting: ", n-1)
	default:
		kept = fmt.Sprintf(". Recipients of what it sent before that go on waiting: %d; ", n)
	}
	kept += fmt.Sprintf(lookAt, acct.Address)
	if busy > 0 {
		kept += fmt.Sprintf(". Being tried just now, and not kept: %d; `breakwater queue hold --account %s` in a minute keeps what is left of them", busy, acct.Address)
	}
	return kept, nil
}

func (x *Executor) accountLimits(ctx context.Context, q Request, _ *Answer) error {
	acct, r, err := x.about(ctx, q)
	if err != nil {
		return err
	}
	if q.Quota == nil && r.SendHour == nil && r.SendDay == nil {
		return errors.New("no limit was given")
	}
	if q.Quota != nil {
		if err := x.Accounts.SetQuota(ctx, acct.Address, *q.Quota); err != nil {
			return err
		}
	}
	if r.SendHour == nil && r.SendDay == nil {
		return nil
	}
	return x.Accounts.SetSendLimits(ctx, acct.Address, r.SendHour, r.SendDay)
}
