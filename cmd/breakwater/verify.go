package main

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/host"
)

type verifyCmd struct {
	where
	JSON   bool `help:"Print JSON."`
	Repair bool `help:"Also make the index anew if it is not what the journal says (the host must be stopped)."`
}

func (v *verifyCmd) Help() string {
	return "Reads every byte of the journal and compares the index with it, beside a running host or without one. Prints one line for each thing that is damaged, with message and owner, and nothing else if there is none. Exit status 0: nothing is damaged.\n\nExamples:\n  breakwater verify\n  breakwater verify --dir /var/lib/breakwater --json"
}

func (v *verifyCmd) Run(c console) error {
	cfg, err := v.load()
	if err != nil {
		return err
	}
	r, err := host.Verify(c.ctx, cfg, host.VerifyOptions{Repair: v.Repair})
	if err != nil {
		return err
	}
	rows := make([][]string, len(r.Damage))
	for i, d := range r.Damage {
		rows[i] = []string{d.What, d.Message, d.Owner, d.Where}
	}
	switch {
	case v.JSON:
		err = table{JSON: true}.print(c, r, "", nil)
	case len(rows) > 0:
		err = table{}.print(c, nil, "DAMAGE\tMESSAGE\tOWNER\tWHERE", rows)
	}
	if err != nil {
		return err
	}
	if len(r.Damage) > 0 {
		return fmt.Errorf("%d damaged; everything else is whole", len(r.Damage))
	}
	return nil
}
