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

type queueCmd struct {
	List    queueListCmd    `cmd:"" help:"List what waits, oldest first."`
	Show    queueShowCmd    `cmd:"" help:"Show one message that waits: its recipients, attempts and replies."`
	Backlog queueBacklogCmd `cmd:"" help:"Say how much waits for each destination, how old it is and how long it will take."`
	Hold    queueHoldCmd    `cmd:"" help:"Keep messages from being tried until they are released."`
	Release queueReleaseCmd `cmd:"" help:"End a hold."`
	Retry   queueRetryCmd   `cmd:"" help:"Try messages now."`
	Fail    queueFailCmd    `cmd:"" help:"Give messages up, and tell their senders."`
	Reroute queueRerouteCmd `cmd:"" help:"Send messages by another next hop."`
	Requeue queueRequeueCmd `cmd:"" help:"Forget holds, reroutes and attempts, and begin anew."`
}

// chosen is what an action is done to.
type chosen struct {
	ID          string `arg:"" optional:"" help:"Id of a message, as list and the log have it."`
	Destination string `help:"All for a domain, or that goes by a next hop." placeholder:"D"`
	Account     string `help:"All that an account has submitted." placeholder:"ADDRESS"`
	Sender      string `help:"All of a reverse-path; '<>' is the null one." placeholder:"ADDRESS"`
	All         bool   `help:"All that wait."`
}

const chosenHelp = "What is chosen by several of the id, --destination, --account and --sender has to meet them all. A recipient that is being tried at the moment is left alone."

func (s chosen) selection() (admin.Selection, error) {
	some := s.ID != "" || s.Destination != "" || s.Account != "" || s.Sender != ""
	if some == s.All {
		return admin.Selection{}, usageError{errors.New("name the id of a message, --destination, --account or --sender; or else --all")}
	}
	return admin.Selection{ID: s.ID, Destination: s.Destination, Account: s.Account, Sender: s.Sender, All: s.All}, nil
}

// act has something done, and says to how many recipients that was.
func (s chosen) act(c console, w where, op admin.Op, q admin.QueueRequest, done string) error {
	sel, err := s.selection()
	if err != nil {
		return err
	}
	q.Selection = sel
	a, err := w.askHost(c, admin.Request{Op: op, Queue: &q})
	if err != nil {
		return err
	}
	if a.Queue == nil {
		return errNoAnswer
	}
	fmt.Fprintf(c.out, "%s %s.\n", recipients(a.Queue.Acted), done)
	return nil
}

// recipients is a number of them, with its verb to come.
func recipients(n int) string {
	if n == 1 {
		return "1 recipient"
	}
	return count(n) + " recipients"
}

type queueListCmd struct {
	where
	table
	Destination string `help:"Only for this domain, or what goes by this next hop." placeholder:"D"`
	Account     string `help:"Only what this account has submitted." placeholder:"ADDRESS"`
	Sender      string `help:"Only of this reverse-path; '<>' is the null one." placeholder:"ADDRESS"`
	State       string `help:"Only queued, deferred or held." placeholder:"STATE"`
	Limit       int    `help:"Rows at most, up to 10000." default:"100" placeholder:"N"`
}

func (q *queueListCmd) Help() string {
	return "One row for each recipient. A state is queued (not tried yet), active (being tried), deferred (was tried, will be again at NEXT), or held (waits for an operator).\n\nExamples:\n  breakwater queue list\n  breakwater queue list --destination example.org --state deferred\n  breakwater queue list --account one@example.net --limit 1000 --json"
}

func (q *queueListCmd) Run(c console) error {
	if q.Limit <= 0 {
		return usageError{errors.New("--limit: less than 1")}
	}
	s := admin.Selection{Destination: q.Destination, Account: q.Account, Sender: q.Sender, State: q.State}
	a, err := q.askHost(c, admin.Request{Op: admin.QueueList, Queue: &admin.QueueRequest{Selection: s}, Limit: q.Limit})
	if err != nil {
		return err
	}
	if a.Queue == nil {
		return errNoAnswer
	}
	now := sys.RealClock().Now()
	rows := [][]string{}
	for _, r := range a.Queue.Rows {
		next, last := "", r.Last
		if !r.Due.IsZero() && r.State != "held" {
			next = stamp(r.Due)
		}
		if r.Hold != "" {
			last = r.Hold
		}
		rows = append(rows, []string{
			printable(r.ID), printable(r.Recipient), pathOf(r.Sender), printable(r.Destination), r.State,
			age(now.Sub(r.Received)), fmt.Sprint(r.Attempts), next, printable(last),
		})
	}
	if a.Queue.Rows == nil {
		a.Queue.Rows = []admin.QueueRow{}
	}
	if err := q.print(c, a.Queue.Rows, "ID\tRECIPIENT\tSENDER\tDESTINATION\tSTATE\tAGE\tTRIES\tNEXT\tLAST", rows); err != nil {
		return err
	}
	if a.Queue.More {
		fmt.Fprintln(c.err, "There are more; --limit lists up to 10000, `breakwater queue backlog` counts them all.")
	}
	return nil
}

// pathOf is a reverse-path as people are shown it.
func pathOf(sender string) string {
	if sender == "" {
		return "<>"
	}
	return printable(sender)
}

type queueShowCmd struct {
	where
	ID   string `arg:"" help:"Id of a message."`
	JSON bool   `help:"Print JSON."`
}

func (q *queueShowCmd) Help() string {
	return "Shows the whole life of a message that waits. `breakwater trace` does so for one that has ended, too.\n\nExamples:\n  breakwater queue show k4qz7w2m5x3ra\n  breakwater queue show k4qz7w2m5x3ra --json"
}

func (q *queueShowCmd) Run(c console) error {
	waiting, err := q.askHost(c, admin.Request{Op: admin.QueueShow, Queue: &admin.QueueRequest{Selection: admin.Selection{ID: q.ID}}})
	if err != nil {
		return err
	}
	told, err := q.askHost(c, admin.Request{Op: admin.Trace, Trace: &ledger.Query{What: q.ID, Limit: 1}})
	if err != nil {
		return err
	}
	if waiting.Queue == nil || told.Lives == nil {
		return errNoAnswer
	}
	switch {
	case len(told.Lives.Lives) == 0:
		return fmt.Errorf("no message %s; `breakwater queue list` lists what waits", printable(q.ID))
	case q.JSON:
		return printJSON(c, struct {
			Message ledger.Life      `json:"message"`
			Waiting []admin.QueueRow `json:"waiting"`
		}{told.Lives.Lives[0], waiting.Queue.Rows})
	}
	fmt.Fprint(c.out, viewLife(told.Lives.Lives[0]))
	if len(waiting.Queue.Rows) == 0 {
		fmt.Fprintln(c.out, "\nNothing of it waits any more.")
		return nil
	}
	fmt.Fprintln(c.out)
	rows := [][]string{}
	for _, r := range waiting.Queue.Rows {
		next := ""
		if !r.Due.IsZero() && r.State != "held" {
			next = stamp(r.Due)
		}
		rows = append(rows, []string{printable(r.Recipient), r.State, printable(r.Destination), next, printable(r.Hold)})
	}
	return table{}.print(c, nil, "WAITING\tSTATE\tDESTINATION\tNEXT\tHELD FOR", rows)
}

type queueHoldCmd struct {
	where
	chosen
	Reason string `help:"Why, for whoever looks later." placeholder:"TEXT"`
}

func (q *queueHoldCmd) Help() string {
	return "What is held is not tried, its sender is not warned, and it is not given up.\n\n" + chosenHelp + "\n\nExamples:\n  breakwater queue hold k4qz7w2m5x3ra\n  breakwater queue hold --account one@example.net --reason 'asked the owner'"
}

func (q *queueHoldCmd) Run(c console) error {
	return q.act(c, q.where, admin.QueueHold, admin.QueueRequest{Reason: q.Reason}, "held")
}

type queueReleaseCmd struct {
	where
	chosen
}

func (q *queueReleaseCmd) Help() string {
	return "What an account's limits hold back is released with the account: `breakwater account --help`.\n\n" + chosenHelp + "\n\nExamples:\n  breakwater queue release k4qz7w2m5x3ra\n  breakwater queue release --destination example.org"
}

func (q *queueReleaseCmd) Run(c console) error {
	return q.act(c, q.where, admin.QueueRelease, admin.QueueRequest{}, "released")
}

type queueRetryCmd struct {
	where
	chosen
}

func (q *queueRetryCmd) Help() string {
	return chosenHelp + "\n\nExamples:\n  breakwater queue retry k4qz7w2m5x3ra\n  breakwater queue retry --destination example.org"
}

func (q *queueRetryCmd) Run(c console) error {
	return q.act(c, q.where, admin.QueueRetry, admin.QueueRequest{}, "to be tried now")
}

type queueFailCmd struct {
	where
	chosen
	Reason string `help:"What the sender is told." required:"" placeholder:"TEXT"`
}

func (q *queueFailCmd) Help() string {
	return "The reason, one sentence, goes into the report to the sender.\n\n" + chosenHelp + "\n\nExamples:\n  breakwater queue fail k4qz7w2m5x3ra --reason 'The address was mistyped.'\n  breakwater queue fail --destination exmaple.org --reason 'There is no such domain.'"
}

func (q *queueFailCmd) Run(c console) error {
	if q.Reason == "" {
		return usageError{errors.New("--reason: the sender is told it, so that it cannot be empty")}
	}
	return q.act(c, q.where, admin.QueueFail, admin.QueueRequest{Reason: q.Reason}, "given up")
}

type queueRerouteCmd struct {
	where
	chosen
	To string `help:"Next hop, such as smtp://mx.example.net:25." required:"" placeholder:"HOP"`
}

func (q *queueRerouteCmd) Help() string {
	return "A next hop is smtp://HOST:PORT, smtps://HOST:PORT, lmtp://HOST:PORT or lmtp:///PATH. `breakwater queue requeue` takes it back.\n\n" + chosenHelp + "\n\nExamples:\n  breakwater queue reroute --destination example.org --to smtp://backup.example.org:25\n  breakwater queue reroute k4qz7w2m5x3ra --to smtps://relay.example.net:465"
}

func (q *queueRerouteCmd) Run(c console) error {
	hop, err := host.NextHop(q.To)
	if err != nil {
		return usageError{fmt.Errorf("--to %q: %w; write smtp://HOST:PORT, smtps://HOST:PORT, lmtp://HOST:PORT or lmtp:///PATH", q.To, err)}
	}
	return q.act(c, q.where, admin.QueueReroute, admin.QueueRequest{Route: hop}, "rerouted")
}

type queueRequeueCmd struct {
	where
	chosen
}

func (q *queueRequeueCmd) Help() string {
	return chosenHelp + "\n\nExamples:\n  breakwater queue requeue k4qz7w2m5x3ra\n  breakwater queue requeue --destination example.org"
}

func (q *queueRequeueCmd) Run(c console) error {
	return q.act(c, q.where, admin.QueueRequeue, admin.QueueRequest{}, "queued anew")
}

type queueBacklogCmd struct {
	where
	JSON  bool          `help:"Print JSON; with --watch, one object after the other."`
	Watch bool          `help:"Refresh until Ctrl-C."`
	Every time.Duration `help:"Time between two refreshes." default:"2s" placeholder:"TIME"`
	Limit int           `help:"Destinations at most; 0 is all." default:"30" placeholder:"N"`
}

func (q *queueBacklogCmd) Help() string {
	return "For each destination: recipients that wait for their first attempt, for another one, for an operator, and that are being tried; the age of the oldest; how many end in a second; how long all will take at that rate; the next attempt; the last error.\n\nExamples:\n  breakwater queue backlog\n  breakwater queue backlog --watch\n  breakwater queue backlog --json"
}

func (q *queueBacklogCmd) Run(c console) error {
	switch {
	case q.Limit < 0:
		return usageError{errors.New("--limit: less than 0")}
	case q.Every < topEveryMin:
		return usageError{fmt.Errorf("--every: less than %s", topEveryMin)}
	}
	fd, screen := terminal(c)
	screen = screen && q.Watch && !q.JSON
	if screen {
		fmt.Fprint(c.out, screenOpen)
		defer fmt.Fprint(c.out, screenClose)
	}
	for {
		if err := q.show(c, screen, fd); err != nil || !q.Watch {
			if c.ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-c.ctx.Done():
			return nil
		case <-sys.RealClock().After(q.Every):
		}
	}
}

func (q *queueBacklogCmd) show(c console, screen bool, fd int) error {
	a, err := q.askHost(c, admin.Request{Op: admin.QueueBacklog, Limit: q.Limit})
	switch {
	case err != nil:
		return err
	case a.Backlog == nil:
		return errNoAnswer
	case q.JSON:
		return printJSON(c, a.Backlog)
	case screen:
		width, height := size(fd)
		fmt.Fprint(c.out, screenOver(viewBacklog(*a.Backlog), width, height))
	default:
		fmt.Fprint(c.out, viewBacklog(*a.Backlog))
	}
	return nil
}
