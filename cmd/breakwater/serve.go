package main

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/host"
)

type serveCmd struct {
	Config string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
}

func (s *serveCmd) Help() string {
	return "Stops gracefully on SIGTERM, reads its configuration and certificates again on SIGHUP, and tells systemd when it is ready (Type=notify).\n\nExample: breakwater serve --config /var/lib/breakwater/breakwater.toml"
}

func (s *serveCmd) Run(c console) error {
	cfg, err := host.Load(s.Config)
	if err != nil {
		return err
	}
	log, err := host.NewLogger(cfg.Log, c.err)
	if err != nil {
		return err
	}
	return host.Serve(c.ctx, cfg, host.ServeOptions{Log: log, Ready: func(b host.Bound) {
		for _, l := range b {
			fmt.Fprintf(c.out, "%-12s %s\n", l.Service, l.Addr)
		}
	}})
}
