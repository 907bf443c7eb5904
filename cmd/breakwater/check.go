package main

import (
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/host"
)

type checkCmd struct {
	where
	table
	Keys bool `help:"Print every key with its effective value and where it comes from, and check nothing."`
}

func (k *checkCmd) Help() string {
	return "Exit status 0: nothing wrong. Examples:\n  breakwater check\n  breakwater check --config /etc/breakwater.toml --keys"
}

func (k *checkCmd) Run(c console) error {
	cfg, err := k.load()
	if err != nil {
		return err
	}
	if k.Keys {
		keys := cfg.Keys()
		rows := make([][]string, len(keys))
		for i, key := range keys {
			rows[i] = []string{key.Name, key.Value, key.Source}
		}
		return k.print(c, keys, "KEY\tVALUE\tFROM", rows)
	}
	findings := host.Check(c.ctx, cfg)
	rows := make([][]string, len(findings))
	bad := 0
	for i, f := range findings {
		mark := "ok"
		if !f.OK {
			mark = "WRONG"
			bad++
		}
		rows[i] = []string{mark, f.What, f.Detail}
	}
	if err := k.print(c, findings, "RESULT\tWHAT\tDETAIL", rows); err != nil {
		return err
	}
	if bad > 0 {
		return errors.New(fmt.Sprint(bad, " of ", len(findings), " checks failed"))
	}
	return nil
}
