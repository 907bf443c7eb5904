package main

import (
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
)

type traceCmd struct {
	where
	What  string `arg:"" name:"message" help:"Message-ID, id (as the log and the 250 have it), or the address of a sender or recipient."`
	Since string `help:"Only what was accepted since: 24h, 7d, 2026-11-20, or a time as RFC 3339 has it." placeholder:"TIME"`
	Until string `help:"Only what was accepted before." placeholder:"TIME"`
	Limit int    `help:"Messages at most, up to 1000; the newest come first." default:"20" placeholder:"N"`
	JSON  bool   `help:"Print JSON."`
}

func (t *traceCmd) Help() string {
	return "Tells the whole life of a message in order: who handed it in, by which session, how it was signed, what the recipients became, each attempt with the other side's words, and how it ended. Times are UTC. Asks the running host, or opens the store when none is running.\n\nOf a recipient that was tried very often, the first attempts and the last ones are remembered.\n\nExit status 1 if nothing is found.\n\nExamples:\n  breakwater trace k4qz7w2m5x3ra\n  breakwater trace '<20261120.1@example.org>'\n  breakwater trace one@example.org --since 24h\n  breakwater trace one@example.org --limit 100 --json"
}

func (t *traceCmd) Run(c console) error {
	if t.Limit <= 0 {
		return usageError{errors.New("--limit: less than 1")}
	}
	since, until, err := period(t.Since, t.Until)
	if err != nil {
		return err
	}
	a, err := t.ask(c, admin.Request{Op: admin.Trace, Trace: &ledger.Query{What: t.What, Since: since, Until: until, Limit: t.Limit}})
	switch {
	case err != nil:
		return err
	case a.Lives == nil:
		return errNoAnswer
	case t.JSON:
		if err := printJSON(c, a.Lives.Lives); err != nil {
			return err
		}
	default:
		for i, l := range a.Lives.Lives {
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			fmt.Fprint(c.out, viewLife(l))
		}
	}
	if len(a.Lives.Lives) == 0 {
		return t.nothing()
	}
	if a.Lives.More {
		fmt.Fprintln(c.err, "There are older ones; --limit and --until tell of more.")
	}
	return nil
}

// nothing says that nothing was found, and what may be the reason.
func (t *traceCmd) nothing() error {
	kept := ""
	if cfg, err := t.load(); err == nil {
		kept = fmt.Sprintf(" Books of mail that has ended are kept for %s (ledger.keep).", cfg.Ledger.Keep)
	}
	within := ""
	if t.Since != "" || t.Until != "" {
		within = " in that time"
	}
	return fmt.Errorf("no message %s was accepted%s: neither an id, nor a Message-ID, nor a sender or recipient is so.%s What was refused was never accepted: `breakwater explain` tells of that", printable(t.What), within, kept)
}
