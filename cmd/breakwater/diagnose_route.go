package main

import (
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

type diagnoseRouteCmd struct {
	where
	To    string `arg:"" help:"An address, or its domain." placeholder:"ADDRESS"`
	Relay string `help:"Next hop to assume for mail to other hosts, as demo --relay has it (default: that of the configuration)." placeholder:"HOST:PORT"`
	DNS   string `name:"dns" help:"Name server to ask (default: those of the configuration)." placeholder:"IP[:PORT]"`
}

func (d *diagnoseRouteCmd) Help() string {
	return "Nothing is sent, and no mail host is connected to. It reads the configuration: what a demo was told by --relay and --dns is to be told here, too. For each host: its addresses, what TLS has to be like, and why.\n\nExamples:\n  breakwater diagnose route one@example.org\n  breakwater diagnose route example.org --config /etc/breakwater.toml --dns 127.0.0.1"
}

func (d *diagnoseRouteCmd) Run(c console) error {
	domain, err := domainOf(d.To)
	if err != nil {
		return usageError{fmt.Errorf("%q is neither an address nor a domain: %w", d.To, err)}
	}
	cfg, err := d.load()
	if err != nil {
		return err
	}
	if d.Relay != "" {
		if err := cfg.RelayTo(d.Relay); err != nil {
			return usageError{err}
		}
	}
	if d.DNS != "" {
		addr, err := parseServer(d.DNS)
		if err != nil {
			return usageError{fmt.Errorf("--dns: %w", err)}
		}
		cfg.DNS.Enabled, cfg.DNS.Servers = true, []string{addr.String()}
	}
	plan, err := host.PlanFor(c.ctx, cfg, domain)
	if err != nil {
		return err
	}
	return printJSON(c, plan)
}

// domainOf reads an address's domain, or a domain alone.
func domainOf(s string) (message.Domain, error) {
	if strings.Contains(s, "@") {
		a, err := message.ParseAddress(s)
		return a.Domain, err
	}
	return message.ParseDomain(s)
}
