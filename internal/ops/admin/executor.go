package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Executor acts on requests. It may be used concurrently.
type Executor struct {
	Accounts     *account.Store
	Mailboxes    *mailbox.Store
	DefaultQuota int64 // of a new account, bytes; 0 is none
	// Scratch names a file that Verify may use; "" is memory.
	Scratch    func() string
	Edge       Edge   // nil: no host is running on this store
	Queue      Queue  // nil: likewise
	Alarms     Alarms // nil: likewise
	Ledger     Ledger
	Sending    Sending    // nil: likewise
	TLSReports TLSReports // nil: likewise
}

// Do acts on one request. What went wrong is in the answer, in words for the
// operator.
func (x *Executor) Do(ctx context.Context, q Request) Answer {
	var a Answer
	do, ok := map[Op]func(context.Context, Request, *Answer) error{
		DomainAdd: x.domainAdd, DomainRemove: x.domainRemove, DomainList: x.domainList,
		AccountAdd: x.accountAdd, AccountRemove: x.accountRemove, AccountList: x.accountList,
		AccountPassword: x.accountPassword, AccountLimits: x.accountLimits,
		AccountDisable: x.accountDisable(true), AccountEnable: x.accountDisable(false),
		AccountShow: x.accountShow, AppAdd: x.appAdd, AppList: x.appList, AppRemove: x.appRemove,
		AccountGrant: x.accountGrant(true), AccountRevoke: x.accountGrant(false), AccountContact: x.accountContact,
		AccountForward: x.accountForward, AccountHold: x.accountHold, AccountRelease: x.accountRelease,
		AccountNetworks: x.accountNetworks,
		AliasAdd:        x.aliasAdd, AliasRemove: x.aliasRemove, AliasList: x.aliasList,
		BanList: x.edge(x.banList), BanAdd: x.edge(x.ban), BanRemove: x.edge(x.ban), BanWhy: x.edge(x.ban),
		Explain: x.edge(x.explain), TopNow: x.edge(x.top),
		GreylistReport: x.edge(x.report), ShadowReport: x.edge(x.report),
		QueueList: x.queue(x.queueList), QueueShow: x.queue(x.queueList), QueueBacklog: x.queue(x.queueBacklog),
		QueueHold: x.queue(x.queueAct), QueueRelease: x.queue(x.queueAct), QueueRetry: x.queue(x.queueAct),
		QueueFail: x.queue(x.queueAct), QueueReroute: x.queue(x.queueAct), QueueRequeue: x.queue(x.queueAct),
		LedgerClose: x.ledger, Trace: x.trace, AlarmList: x.alarmList, AlarmTest: x.alarmTest,
		TLSReportList: x.tlsReportList, TLSReportShow: x.tlsReportShow,
	}[q.Op]
	if !ok {
		a.Error = fmt.Sprintf("unknown request %q; is the running host older than this command?", q.Op)
		return a
	}
	if err := do(ctx, q, &a); err != nil {
		a = Answer{Error: explain(q, err)}
	}
	return a
}

// explain adds to an error what the operator can do about it.
func explain(q Request, err error) string {
	name := q.Address
	if name == "" {
		name = q.Domain
	}
	switch {
	case errors.Is(err, account.ErrExists):
		return name + " is there already"
	case errors.Is(err, account.ErrNoSuchDomain):
		return fmt.Sprintf("the domain of %s is not one of this host's; add it first: breakwater domain add DOMAIN", name)
	case errors.Is(err, account.ErrNoSuchUser):
		return fmt.Sprintf("no account %s; `breakwater account list` lists them", name)
	case errors.Is(err, account.ErrNoSuchAlias):
		return fmt.Sprintf("no alias %s; `breakwater alias list` lists them", name)
	case errors.Is(err, account.ErrDomainInUse):
		return name + " still has accounts or aliases; remove them first"
	default:
		return err.Error()
	}
}

func (x *Executor) domainAdd(ctx context.Context, q Request, _ *Answer) error {
	d, err := parseDomain(q.Domain)
	if err != nil {
		return err
	}
	return x.Accounts.AddDomain(ctx, d)
}

func (x *Executor) domainRemove(ctx context.Context, q Request, _ *Answer) error {
	d, err := parseDomain(q.Domain)
	if err != nil {
		return err
	}
	return x.Accounts.RemoveDomain(ctx, d)
}

func (x *Executor) domainList(ctx context.Context, _ Request, a *Answer) error {
	domains, err := x.Accounts.Domains(ctx)
	if err != nil {
		return err
	}
	accounts, err := x.Accounts.Accounts(ctx)
	if err != nil {
		return err
	}
	aliases, err := x.Accounts.Aliases(ctx)
	if err != nil {
		return err
	}
	n := map[message.Domain]int{}
	for _, r := range accounts {
		n[r.Address.Domain]++
	}
	catchAll := map[message.Domain]string{}
	for _, r := range aliases {
		if r.CatchAll() && len(r.Targets) > 0 {
			catchAll[r.Address.Domain] = r.Targets[0].String()
		}
	}
	for _, d := range domains {
		a.Domains = append(a.Domains, Domain{Name: string(d.Name), Accounts: n[d.Name], CatchAll: catchAll[d.Name]})
	}
	return nil
}

func (x *Executor) accountAdd(ctx context.Context, q Request, _ *Answer) error {
	addr, err := parseAddress(q.Address)
	if err != nil {
		return err
	}
	quota := x.DefaultQuota
	if q.Quota != nil {
		quota = *q.Quota
	}
	acct, err := x.Accounts.AddAccount(ctx, addr, q.Password, account.Settings{Admin: q.Admin, QuotaBytes: quota})
	if err != nil {
		return err
	}
	// A crash here leaves an account whose mailboxes are made at its first
	// delivery or login.
	return x.Mailboxes.Provision(ctx, acct.ID)
}

func (x *Executor) accountRemove(ctx context.Context, q Request, _ *Answer) error {
	addr, err := parseAddress(q.Address)
	if err != nil {
		return err
	}
	acct, err := x.Accounts.Get(ctx, addr)
	if err != nil {
		return err
	}
	// The account first: mail that arrives meanwhile is refused rather than
	// filed into mailboxes that are about to go.
	if err := x.Accounts.RemoveAccount(ctx, addr); err != nil {
		return err
	}
	return x.Mailboxes.RemoveAccount(ctx, acct.ID)
}

func (x *Executor) accountList(ctx context.Context, _ Request, a *Answer) error {
	accounts, err := x.Accounts.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, r := range accounts {
		row, err := x.row(ctx, r)
		if err != nil {
			return err
		}
		a.Accounts = append(a.Accounts, row)
	}
	return nil
}

func (x *Executor) accountDisable(on bool) func(context.Context, Request, *Answer) error {
	return func(ctx context.Context, q Request, _ *Answer) error {
		addr, err := parseAddress(q.Address)
		if err != nil {
			return err
		}
		return x.Accounts.SetDisabled(ctx, addr, on)
	}
}

func (x *Executor) aliasAdd(ctx context.Context, q Request, _ *Answer) error {
	targets := make([]message.Address, len(q.Targets))
	for i, t := range q.Targets {
		addr, err := parseAddress(t)
		if err != nil {
			if strings.ContainsAny(t, ",;") {
				err = fmt.Errorf("%w; targets are separated by spaces", err)
			}
			return err
		}
		targets[i] = addr
	}
	alias, err := parseAlias(q.Address)
	if err != nil {
		return err
	}
	if alias.Local == "" {
		return targetError(x.Accounts.SetCatchAll(ctx, alias.Domain, targets...))
	}
	return targetError(x.Accounts.AddAlias(ctx, alias, targets...))
}

func (x *Executor) aliasRemove(ctx context.Context, q Request, _ *Answer) error {
	alias, err := parseAlias(q.Address)
	if err != nil {
		return err
	}
	return x.Accounts.RemoveAlias(ctx, alias)
}

func (x *Executor) aliasList(ctx context.Context, _ Request, a *Answer) error {
	aliases, err := x.Accounts.Aliases(ctx)
	if err != nil {
		return err
	}
	for _, r := range aliases {
		row := Alias{Address: r.Address.String()}
		if r.CatchAll() {
			row.Address = "@" + string(r.Address.Domain)
		}
		for _, t := range r.Targets {
			row.Targets = append(row.Targets, t.String())
		}
		a.Aliases = append(a.Aliases, row)
	}
	return nil
}

// parseAddress and parseDomain say which of several arguments is wrong.
func parseAddress(s string) (message.Address, error) {
	a, err := message.ParseAddress(s)
	if err != nil {
		return a, fmt.Errorf("%q: %w", s, err)
	}
	return a, nil
}

func parseDomain(s string) (message.Domain, error) {
	d, err := message.ParseDomain(s)
	if err != nil {
		return d, fmt.Errorf("%q: %w", s, err)
	}
	return d, nil
}

// parseAlias reads an address, or "@domain" for a catch-all: an empty local
// part.
func parseAlias(s string) (message.Address, error) {
	if len(s) > 0 && s[0] == '@' {
		d, err := parseDomain(s[1:])
		return message.Address{Domain: d}, err
	}
	return parseAddress(s)
}
