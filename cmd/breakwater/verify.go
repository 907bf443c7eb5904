package main

import (
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

type verifyCmd struct {
	where
	JSON   bool `help:"Print JSON."`
	Repair bool `help:"If only the index is wrong, make it anew. The host must be stopped."`
}

func (v *verifyCmd) Help() string {
	return "Reads every byte of the journal and compares the index with it, beside a running host or without one. Prints a line for each thing that is damaged, with the messages and owners that it concerns, and nothing if there is none. Exit status 0: nothing is damaged, or --repair mended it.\n\nExamples:\n  breakwater verify\n  breakwater verify --dir /var/lib/breakwater --json"
}

func (v *verifyCmd) Run(c console) error {
	cfg, err := v.load()
	if err != nil {
		return err
	}
	found, mail, index := []admin.Damage{}, 0, 0
	err = host.Verify(c.ctx, cfg, func(d admin.Damage) error {
		found = append(found, d)
		if d.Index {
			index++
		} else {
			mail++
		}
		if !v.JSON {
			printDamage(c, d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if v.JSON {
		if err := printJSON(c, found); err != nil {
			return err
		}
	}
	if v.Repair && index > 0 {
		if err := host.RebuildIndex(c.ctx, cfg, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.err, "The index has been made anew.")
		index = 0
	}
	switch {
	case mail > 0:
		return fmt.Errorf("%d damaged; everything else is whole", mail)
	case index > 0:
		return fmt.Errorf("%d findings, all in the index: no mail is damaged; stop the host and run `breakwater verify --repair`", index)
	}
	return nil
}

// printDamage prints one finding on one line.
func printDamage(c console, d admin.Damage) {
	var b strings.Builder
	b.WriteString(d.What)
	if d.Segment != "" {
		fmt.Fprintf(&b, " (segment %s, offset %d)", d.Segment, d.Offset)
	}
	for _, m := range d.Messages {
		fmt.Fprintf(&b, "; %s, mailbox %s", m.Owner, m.Mailbox)
		if m.UID != 0 {
			fmt.Fprintf(&b, ", message UID %d", m.UID)
		}
	}
	fmt.Fprintln(c.out, b.String())
}
