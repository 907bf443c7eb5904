package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
)

type ledgerCmd struct {
	where
	Since   string `help:"Only what was accepted since: 24h, 7d, 2026-11-20, or a time as RFC 3339 has it." placeholder:"TIME"`
	Until   string `help:"Only what was accepted before." placeholder:"TIME"`
	Account string `help:"Only what this account has submitted." placeholder:"ADDRESS"`
	JSON    bool   `help:"Print JSON."`
}

func (l *ledgerCmd) Help() string {
	return "Closes the books: accepted = delivered + relayed + bounced + discarded + set aside + queued, counted by recipients, and the ids of whatever breaks the sum. Asks the running host, or opens the store when none is running.\n\nExit status 0: they balance, and the last audit has found nobody missing. 1: they do not; standard error says what to do.\n\nExamples:\n  breakwater ledger\n  breakwater ledger --since 24h\n  breakwater ledger --since 2026-11-20 --until 2026-11-21 --account one@example.net --json"
}

func (l *ledgerCmd) Run(c console) error {
	since, until, err := period(l.Since, l.Until)
	if err != nil {
		return err
	}
	a, err := l.ask(c, admin.Request{Op: admin.LedgerClose, Ledger: &admin.LedgerRequest{Since: since, Until: until, Account: l.Account}})
	if err != nil {
		return err
	}
	if a.Ledger == nil {
		return errNoAnswer
	}
	books, audit := a.Ledger.Books, a.Ledger.Audit
	if l.JSON {
		err := printJSON(c, struct {
			ledger.Books
			Audit *ledger.Result `json:"audit,omitempty"`
		}{books, audit})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprint(c.out, viewBooks(books)+viewAudit(audit))
	}
	switch {
	case !books.Balanced:
		return errors.New("the books do not balance: `breakwater trace ID` tells what is known of a message, `breakwater verify` names the damage where an id is that of a record; keep the data directory as it is, a copy of it shows what happened")
	case audit != nil && audit.Missing > 0:
		return fmt.Errorf("the books balance, but the audit of %s found %d without a fate: `breakwater trace ID` tells what is known of them, a restart has the queue read the books anew", stamp(audit.At), audit.Missing)
	}
	return nil
}

// period reads two times of a command line, of which "" is none.
func period(from, to string) (since, until time.Time, err error) {
	now := sys.RealClock().Now().UTC()
	if since, err = moment(now, from); err != nil {
		return since, until, usageError{fmt.Errorf("--since: %w", err)}
	}
	if until, err = moment(now, to); err != nil {
		return since, until, usageError{fmt.Errorf("--until: %w", err)}
	}
	if !until.IsZero() && !since.Before(until) {
		return since, until, usageError{errors.New("--until: the period would end before it begins")}
	}
	return since, until, nil
}

// moment reads a time: how long ago, a day (UTC), or RFC 3339.
func moment(now time.Time, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := host.ParseDuration(s); err == nil {
		return now.Add(-d.Std()), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 24h, 7d, 2026-11-20 or 2026-11-20T10:00:00Z", s)
}
