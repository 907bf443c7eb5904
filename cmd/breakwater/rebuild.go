package main

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/host"
)

type rebuildIndexCmd struct {
	where
}

func (r *rebuildIndexCmd) Help() string {
	return "The host must be stopped. Nothing can be lost: the journal has every message, flag and mailbox, and gives them back with the same UIDs and MODSEQs.\n\nExample: breakwater rebuild-index --dir /var/lib/breakwater"
}

func (r *rebuildIndexCmd) Run(c console) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	log, err := host.NewLogger(cfg.Log, c.err)
	if err != nil {
		return err
	}
	if err := host.RebuildIndex(c.ctx, cfg, log.Logger); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "The index has been made anew.")
	return nil
}
