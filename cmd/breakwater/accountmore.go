package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// notes prints what else the operator should know.
func notes(c console, a admin.Answer) {
	for _, n := range a.Notes {
		fmt.Fprintln(c.err, n)
	}
}

type accountShowCmd struct {
	where
	JSON    bool   `help:"Print JSON."`
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *accountShowCmd) Help() string {
	return "All that is known of an account, and what it sends.\nExample: breakwater account show one@example.org"
}

func (a *accountShowCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AccountShow, Address: a.Address})
	if err != nil {
		return err
	}
	if a.JSON {
		return printJSON(c, answer.Details)
	}
	if answer.Details == nil {
		return errors.New("the running host is older than this command")
	}
	return table{}.print(c, nil, "ACCOUNT\t"+answer.Details.Address, accountFacts(*answer.Details))
}

// accountFacts are the rows of "account show".
func accountFacts(d admin.AccountDetails) [][]string {
	rows := [][]string{{"state", accountState(d.Account)}}
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	if !d.Held.IsZero() {
		add("held", "since %s: %s", since(d.Held), d.HoldReason)
	}
	add("created", "%s", since(d.Created))
	add("keeps", "%d messages, %s of %s", d.Messages, host.Size(d.Bytes), quotaText(d.Quota))
	add("may send", "%s an hour, %s a day", limitText(d.SendHour), limitText(d.SendDay))
	if s := d.Sending; s != nil {
		add("sent", "%d recipients in the last hour (of %d), %d in the last day (of %d)", s.Hour, s.HourLimit, s.Day, s.DayLimit)
		add("usual", "%d recipients in an hour in which it sends, %d a day, among %d people", s.UsualHour, s.UsualDay, s.Known)
		add("new to it", "%d people lately; %d more and it is held", s.Strangers, s.Room)
		add("refused", "%d of the last %d recipients", s.Bounced, s.Results)
	}
	if d.Contact != "" {
		add("contact", "%s", d.Contact)
	}
	if len(d.Forward) > 0 {
		kept := "keeps a copy"
		if d.NoCopy {
			kept = "keeps no copy"
		}
		add("forwards to", "%s (%s)", strings.Join(d.Forward, " "), kept)
	}
	for _, g := range d.SendAs {
		add("sends as", "%s", g)
	}
	for _, p := range d.AppPasswords {
		add("app password", "%s: %s, last used %s", p.Name, strings.Join(p.Scope, " "), since(p.Used))
	}
	return rows
}

func accountState(r admin.Account) string {
	state := "active"
	if r.Disabled {
		state = "disabled"
	}
	if r.Admin {
		state += ", admin"
	}
	if !r.Held.IsZero() {
		state += ", held"
	}
	return state
}

func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func quotaText(n int64) string {
	if n == 0 {
		return "none"
	}
	return host.Size(n).String()
}

func limitText(n int64) string {
	if n == 0 {
		return "the default"
	}
	return fmt.Sprint(n, " recipients")
}

type appPasswordCmd struct {
	Add    appAddCmd    `cmd:"" help:"Make up a password for one program and print it once."`
	List   appListCmd   `cmd:"" help:"List an account's app passwords."`
	Remove appRemoveCmd `cmd:"" help:"Remove an app password; it logs in no more at once."`
}

type appAddCmd struct {
	where
	Address string   `arg:"" help:"Such as one@example.org."`
	Name    string   `help:"What it is for, such as telephone." required:"" placeholder:"NAME"`
	Scope   []string `help:"What it may be used for: smtp, imap, pop3 (default: all)." placeholder:"SERVICE"`
}

func (a *appAddCmd) Help() string {
	return "The password is printed once and kept nowhere. It logs in by PLAIN and LOGIN; SCRAM knows the account's own password only.\nExamples:\n  breakwater account app-password add one@example.org --name telephone\n  breakwater account app-password add one@example.org --name scanner --scope smtp"
}

func (a *appAddCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AppAdd, Address: a.Address, Account: &admin.AccountRequest{Name: a.Name, Scope: a.Scope}})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, answer.Password)
	return nil
}

type appListCmd struct {
	where
	table
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *appListCmd) Help() string {
	return "Example: breakwater account app-password list one@example.org"
}

func (a *appListCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AppList, Address: a.Address})
	if err != nil {
		return err
	}
	rows := make([][]string, len(answer.AppPasswords))
	for i, p := range answer.AppPasswords {
		rows[i] = []string{p.Name, strings.Join(p.Scope, " "), since(p.Created), since(p.Used)}
	}
	return a.print(c, answer.AppPasswords, "NAME\tSCOPE\tCREATED\tLAST USED", rows)
}

type appRemoveCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
	Name    string `help:"As list shows it." required:"" placeholder:"NAME"`
}

func (a *appRemoveCmd) Help() string {
	return "Example: breakwater account app-password remove one@example.org --name telephone"
}

func (a *appRemoveCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AppRemove, Address: a.Address, Account: &admin.AccountRequest{Name: a.Name}})
	return err
}

type accountGrantCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
	SendAs  string `help:"An address, or @example.org for a whole domain." required:"" placeholder:"OTHER"`
}

func (a *accountGrantCmd) Help() string {
	return "An account may always send as its own address, its details and the aliases that lead to it.\nExamples:\n  breakwater account grant one@example.org --send-as info@example.org\n  breakwater account grant one@example.org --send-as @example.net"
}

func (a *accountGrantCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AccountGrant, Address: a.Address, Account: &admin.AccountRequest{SendAs: a.SendAs}})
	return err
}

type accountRevokeCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
	SendAs  string `help:"As it was granted." required:"" placeholder:"OTHER"`
}

func (a *accountRevokeCmd) Help() string {
	return "Example: breakwater account revoke one@example.org --send-as info@example.org"
}

func (a *accountRevokeCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AccountRevoke, Address: a.Address, Account: &admin.AccountRequest{SendAs: a.SendAs}})
	return err
}

type accountContactCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
	Contact string `arg:"" optional:"" help:"An address of the owner at another host."`
	Remove  bool   `help:"There is none."`
}

func (a *accountContactCmd) Help() string {
	return "The owner is told there when what the account sends is held.\nExamples:\n  breakwater account contact one@example.org owner@example.net\n  breakwater account contact one@example.org --remove"
}

func (a *accountContactCmd) Run(c console) error {
	if (a.Contact == "") != a.Remove {
		return usageError{errors.New("give an address, or --remove")}
	}
	_, err := a.ask(c, admin.Request{Op: admin.AccountContact, Address: a.Address, Account: &admin.AccountRequest{Contact: a.Contact}})
	return err
}

type accountForwardCmd struct {
	where
	Address string   `arg:"" help:"Such as one@example.org."`
	Targets []string `arg:"" optional:"" help:"Where its mail goes too."`
	NoCopy  bool     `help:"Keep nothing that a target takes."`
	Remove  bool     `help:"Forward no more."`
}

func (a *accountForwardCmd) Help() string {
	return "Replaces what was set before.\nExamples:\n  breakwater account forward one@example.org two@example.net\n  breakwater account forward one@example.org two@example.net --no-copy\n  breakwater account forward one@example.org --remove"
}

func (a *accountForwardCmd) Run(c console) error {
	if (len(a.Targets) == 0) != a.Remove {
		return usageError{errors.New("give addresses, or --remove")}
	}
	_, err := a.ask(c, admin.Request{Op: admin.AccountForward, Address: a.Address, Targets: a.Targets, Account: &admin.AccountRequest{NoCopy: a.NoCopy}})
	return err
}

type accountHoldCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
	Reason  string `arg:"" help:"In a sentence; the owner is told."`
}

func (a *accountHoldCmd) Help() string {
	return "Nothing that the account sends goes out until it is released or gets another password; it can still read its mail.\nExample: breakwater account hold one@example.org \"complaints about spam\""
}

func (a *accountHoldCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AccountHold, Address: a.Address, Account: &admin.AccountRequest{Reason: a.Reason}})
	notes(c, answer)
	return err
}

type accountReleaseCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *accountReleaseCmd) Help() string {
	return "What was held goes out. If the password is in the wrong hands, set another one instead: that ends the hold, too, but what waits goes on waiting until it is released or failed (breakwater queue). While no host runs a new password does not end it.\nExample: breakwater account release one@example.org"
}

func (a *accountReleaseCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AccountRelease, Address: a.Address})
	notes(c, answer)
	return err
}

type accountNetworksCmd struct {
	where
	table
	Limit int `help:"Show so many networks at most." default:"20"`
}

func (a *accountNetworksCmd) Help() string {
	return "Recipients that all accounts together wrote to from each network (IPv4 /24, IPv6 /48), and the accounts that began within a day to write to strangers from there.\nExample: breakwater account networks --json"
}

func (a *accountNetworksCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AccountNetworks, Limit: a.Limit})
	if err != nil {
		return err
	}
	rows := make([][]string, len(answer.Networks))
	for i, n := range answer.Networks {
		rows[i] = []string{
			n.Network.String(), fmt.Sprintf("%d of %d", n.Hour, n.HourLimit), fmt.Sprintf("%d of %d", n.Day, n.DayLimit),
			since(n.Last), networkState(n), strings.Join(n.Newcomers, " "),
		}
	}
	return a.print(c, answer.Networks, "NETWORK\tHOUR\tDAY\tLAST\tSTATE\tNEW THERE", rows)
}

func networkState(n admin.SendingNetwork) string {
	state := "ok"
	if n.Hour >= n.HourLimit || n.Day >= n.DayLimit {
		state = "limited"
	}
	if n.Crowded {
		return strings.TrimPrefix(state+", crowded", "ok, ")
	}
	return state
}
