package main

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

type aliasCmd struct {
	Add    aliasAddCmd    `cmd:"" help:"Have mail for one address delivered to others."`
	Remove aliasRemoveCmd `cmd:"" help:"Remove an alias."`
	List   aliasListCmd   `cmd:"" help:"List the aliases."`
}

type aliasAddCmd struct {
	where
	Alias   string   `arg:"" help:"The address; @example.org is the catch-all of a domain."`
	Targets []string `arg:"" help:"Where its mail goes."`
}

func (a *aliasAddCmd) Help() string {
	return "Targets at other hosts are forwarded to.\nExamples:\n  breakwater alias add sales@example.org one@example.org two@example.net\n  breakwater alias add @example.org one@example.org"
}

func (a *aliasAddCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AliasAdd, Address: a.Alias, Targets: a.Targets})
	return err
}

type aliasRemoveCmd struct {
	where
	Alias string `arg:"" help:"The address; @example.org is the catch-all of a domain."`
}

func (a *aliasRemoveCmd) Help() string { return "Example: breakwater alias remove sales@example.org" }

func (a *aliasRemoveCmd) Run(c console) error {
	_, err := a.ask(c, admin.Request{Op: admin.AliasRemove, Address: a.Alias})
	return err
}

type aliasListCmd struct {
	where
	table
}

func (a *aliasListCmd) Help() string { return "Example: breakwater alias list --json" }

func (a *aliasListCmd) Run(c console) error {
	answer, err := a.ask(c, admin.Request{Op: admin.AliasList})
	if err != nil {
		return err
	}
	rows := make([][]string, len(answer.Aliases))
	for i, r := range answer.Aliases {
		rows[i] = []string{r.Address, strings.Join(r.Targets, " ")}
	}
	return a.print(c, answer.Aliases, "ALIAS\tTARGETS", rows)
}
