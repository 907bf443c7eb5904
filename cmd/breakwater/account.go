package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

type accountCmd struct {
	Add      accountAddCmd      `cmd:"" help:"Add an account."`
	Remove   accountRemoveCmd   `cmd:"" help:"Remove an account and its mail."`
	List     accountListCmd     `cmd:"" help:"List the accounts."`
	Show     accountShowCmd     `cmd:"" help:"Show all that is known of an account."`
	Password accountPasswordCmd `cmd:"" help:"Set an account's password."`
	Limits   accountLimitsCmd   `cmd:"" help:"Set an account's quota, and how much it may send."`
	Disable  accountDisableCmd  `cmd:"" help:"Let an account neither log in nor get mail."`
	Enable   accountEnableCmd   `cmd:"" help:"Undo disable."`

	AppPassword appPasswordCmd    `cmd:"" help:"Passwords for single programs."`
	Forward     accountForwardCmd `cmd:"" help:"Have an account's mail go elsewhere too."`
	Contact     accountContactCmd `cmd:"" help:"Note another address of an account's owner."`
	Grant       accountGrantCmd   `cmd:"" help:"Let an account send as another address."`
	Revoke      accountRevokeCmd  `cmd:"" help:"Undo grant."`
	Hold        accountHoldCmd    `cmd:"" help:"Stop what an account sends."`
	Release     accountReleaseCmd `cmd:"" help:"End a hold."`

	Networks accountNetworksCmd `cmd:"" help:"Show from where accounts send, the busiest networks first."`
}

// passwordBytesMax bounds a password's line: more than the 1,024 octets that
// an account takes.
const passwordBytesMax = 2048

// password says where a password comes from: never from the command line,
// where every user of the machine could read it.
type password struct {
	PasswordFile string `help:"Read the password from the first line of this file instead of standard input." type:"path" placeholder:"FILE"`
	Generate     bool   `help:"Make up a password and print it once."`
}

// read returns the password and whether it was made up.
func (p password) read(c console) (string, bool, error) {
	if p.Generate {
		return rand.Text(), true, nil
	}
	line, err := p.line(c)
	if err != nil {
		return "", false, fmt.Errorf("read password: %w", err)
	}
	if line == "" {
		return "", false, usageError{errors.New("no password: type one, or use --password-file or --generate")}
	}
	return line, false, nil
}

// line reads the password's line; typed ones are not shown.
func (p password) line(c console) (string, error) {
	in := c.in
	if p.PasswordFile != "" {
		f, err := os.Open(p.PasswordFile)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(c.err, "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.err)
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(in, passwordBytesMax)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type accountAddCmd struct {
	where
	password
	Address string `arg:"" help:"Such as one@example.org."`
	Admin   bool   `help:"This account gets the mail for postmaster."`
	Quota   string `help:"Most that it may keep, such as 2GiB; 0 is no limit (default: mailbox.quota)." placeholder:"SIZE"`
}

func (a *accountAddCmd) Help() string {
	return "Examples:\n  breakwater account add one@example.org --generate\n  breakwater account add one@example.org --quota 2GiB <password.txt"
}

func (a *accountAddCmd) Run(c console) error {
	quota, err := parseQuota(a.Quota)
	if err != nil {
		return err
	}
	pw, made, err := a.read(c)
	if err != nil {
		return err
	}
	if _, err := a.ask(c, admin.Request{Op: admin.AccountAdd, Address: a.Address, Password: pw, Admin: a.Admin, Quota: quota}); err != nil {
		return err
	}
	if made {
		fmt.Fprintln(c.out, pw)
	}
	return nil
}

// parseQuota returns nil for "".
func parseQuota(s string) (*int64, error) {
	if s == "" {
		return nil, nil
	}
	size, err := host.ParseSize(s)
	if err != nil {
		return nil, usageError{fmt.Errorf("--quota: %w", err)}
	}
	n := int64(size)
	return &n, nil
}

type accountRemoveCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *accountRemoveCmd) Help() string { return "Example: breakwater account remove one@example.org" }

func (a *accountRemoveCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AccountRemove, Address: a.Address})
	return err
}

type accountListCmd struct {
	where
	table
}

func (a *accountListCmd) Help() string { return "Example: breakwater account list --json" }

func (a *accountListCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AccountList})
	if err != nil {
		return err
	}
	rows := make([][]string, len(answer.Accounts))
	for i, r := range answer.Accounts {
		rows[i] = []string{r.Address, accountState(r), fmt.Sprint(r.Messages), fmt.Sprint(r.Bytes), quotaText(r.Quota)}
	}
	return a.print(c, answer.Accounts, "ACCOUNT\tSTATE\tMESSAGES\tBYTES\tQUOTA", rows)
}

type accountPasswordCmd struct {
	where
	password
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *accountPasswordCmd) Help() string {
	return "Examples:\n  breakwater account password one@example.org\n  breakwater account password one@example.org --generate"
}

func (a *accountPasswordCmd) Run(c console) error {
	pw, made, err := a.read(c)
	if err != nil {
		return err
	}
	answer, err := a.ask(c, admin.Request{Op: admin.AccountPassword, Address: a.Address, Password: pw})
	if err != nil {
		return err
	}
	notes(c, answer)
	if made {
		fmt.Fprintln(c.out, pw)
	}
	return nil
}

type accountLimitsCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
	Quota   string `help:"Most that it may keep, such as 2GiB; 0 is no limit." placeholder:"SIZE"`

	SendHour *int64 `help:"Most recipients that it may send to in an hour; 0 is the default." placeholder:"N"`
	SendDay  *int64 `help:"The same for a day." placeholder:"N"`
}

func (a *accountLimitsCmd) Help() string {
	return "Limits that are not given stay as they are. A limit above the default says that the account sends to lists: then it is not held for writing to many new people.\nExamples:\n  breakwater account limits one@example.org --quota 5GiB\n  breakwater account limits news@example.org --send-hour 1000 --send-day 5000"
}

func (a *accountLimitsCmd) Run(c console) error {
	quota, err := parseQuota(a.Quota)
	if err != nil {
		return err
	}
	if quota == nil && a.SendHour == nil && a.SendDay == nil {
		return usageError{errors.New("give --quota, --send-hour or --send-day")}
	}
	_, err = a.ask(c, admin.Request{Op: admin.AccountLimits, Address: a.Address, Quota: quota,
		Account: &admin.AccountRequest{SendHour: a.SendHour, SendDay: a.SendDay}})
	return err
}

type accountDisableCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *accountDisableCmd) Help() string {
	return "Its mail stays. Example: breakwater account disable one@example.org"
}

func (a *accountDisableCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AccountDisable, Address: a.Address})
	return err
}

type accountEnableCmd struct {
	where
	Address string `arg:"" help:"Such as one@example.org."`
}

func (a *accountEnableCmd) Help() string { return "Example: breakwater account enable one@example.org" }

func (a *accountEnableCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AccountEnable, Address: a.Address})
	return err
}
