package main

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/host"
)

type initCmd struct {
	Hostname string `arg:"" help:"Name of this host, such as mail.example.org."`
	Dir      string `help:"Directory for configuration, keys and mail." default:"/var/lib/breakwater" type:"path"`
	Domain   string `help:"First domain to take mail for (default: the hostname without its first label)."`
	User     string `help:"User to become when started as root." default:""`
	password
}

func (i *initCmd) Help() string {
	return "Makes DIR/breakwater.toml, a self-made certificate, the first domain and the account admin@DOMAIN, and prints the DNS records to publish.\n\nExample: breakwater init mail.example.org --generate"
}

func (i *initCmd) Run(c console) error {
	pw, made, err := i.read(c) // before anything is made: a wrong file leaves nothing behind
	if err != nil {
		return err
	}
	cfg, err := host.Init(i.Dir, i.Hostname, i.User)
	if err != nil {
		return err
	}
	first, err := host.FirstAccount(c.ctx, cfg, i.Domain, pw)
	if err != nil {
		return err
	}
	if err := host.GiveToUser(cfg); err != nil {
		return err
	}
	if made {
		fmt.Fprintf(c.out, "Password of %s (printed this once): %s\n\n", first, pw)
	}
	return host.WriteNextSteps(c.out, cfg, first)
}
