package main

import (
	"fmt"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

type domainCmd struct {
	Add    domainAddCmd    `cmd:"" help:"Take mail for a domain."`
	Remove domainRemoveCmd `cmd:"" help:"Take no more mail for a domain that has no accounts or aliases left."`
	List   domainListCmd   `cmd:"" help:"List the domains."`
}

type domainAddCmd struct {
	where
	Domain string `arg:"" help:"Such as example.org."`
}

func (d *domainAddCmd) Help() string {
	return "Example: breakwater domain add example.org"
}

func (d *domainAddCmd) Run(c console) error {
	if _, err := d.ask(c, admin.Request{Op: admin.DomainAdd, Domain: d.Domain}); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Mail for %s is taken. Add its people with `breakwater account add`.\n", d.Domain)
	return nil
}

type domainRemoveCmd struct {
	where
	Domain string `arg:"" help:"Such as example.org."`
}

func (d *domainRemoveCmd) Help() string {
	return "Example: breakwater domain remove example.org"
}

func (d *domainRemoveCmd) Run(c console) error {
	_, err := d.ask(c, admin.Request{Op: admin.DomainRemove, Domain: d.Domain})
	return err
}

type domainListCmd struct {
	where
	table
}

func (d *domainListCmd) Help() string { return "Example: breakwater domain list --json" }

func (d *domainListCmd) Run(c console) error {
	a, err := d.ask(c, admin.Request{Op: admin.DomainList})
	if err != nil {
		return err
	}
	rows := make([][]string, len(a.Domains))
	for i, r := range a.Domains {
		rows[i] = []string{r.Name, strconv.Itoa(r.Accounts), r.CatchAll}
	}
	return d.print(c, a.Domains, "DOMAIN\tACCOUNTS\tCATCH-ALL", rows)
}
