package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/host"
)

type demoCmd struct {
	Dir      string   `help:"Where the demo keeps its mail, certificates and configuration." default:"breakwater-demo" type:"path"`
	DNS      string   `name:"dns" placeholder:"ADDR" help:"Resolver to ask, such as 127.0.0.1 or 127.0.0.1:5353 (default: DNS is not asked)."`
	DNSBL    []string `name:"dnsbl" placeholder:"ZONE" sep:"none" help:"DNS list of bad sources, such as \"bl.example weight=3\"; may be repeated. Needs --dns."`
	Relay    string   `placeholder:"HOST:PORT" help:"Next hop for mail to other domains (default: it is held; see breakwater queue)."`
	Password string   `help:"Password of the demo's accounts (default: made up on the first run and printed once). For demos only: others on this machine can read it in the process list."`
}

func (d *demoCmd) Help() string {
	return "A second demo on the same directory goes on with its mail. Edit DIR/breakwater.toml to change ports and limits.\n\nExamples:\n  breakwater demo\n  breakwater demo --dir /tmp/mail --password secret\n  breakwater demo --relay 127.0.0.1:1025\n  breakwater demo --dns 127.0.0.1:5353 --dnsbl bl.test"
}

func (d *demoCmd) Run(c console) error {
	path := filepath.Join(d.Dir, "breakwater.toml")
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if fresh {
		err = host.InitDemo(d.Dir)
	}
	if err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	cfg, err := host.Load(path)
	if err != nil {
		return err
	}
	if d.Relay != "" {
		if err := cfg.RelayTo(d.Relay); err != nil {
			return usageError{err}
		}
	}
	if err := cfg.AskDNS(d.DNS, d.DNSBL); err != nil {
		return usageError{err}
	}
	log, err := host.NewLogger(cfg.Log, c.err)
	if err != nil {
		return err
	}
	var prepared host.DemoAccounts
	err = host.Serve(c.ctx, cfg, host.ServeOptions{
		Log: log,
		Prepare: func(ctx context.Context, s *host.Store) (err error) {
			prepared, err = host.PrepareDemo(ctx, s, d.Password, rand.Text)
			return err
		},
		Ready: func(b host.Bound) {
			if err := host.WriteFirstSteps(c.out, cfg, b, prepared); err != nil {
				log.Warn("print first steps", telemetry.Err, err)
			}
		},
	})
	return err
}
