package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// The requests about the queue. Only a running host can answer them.
const (
	QueueList    Op = "queue list"
	QueueShow    Op = "queue show"
	QueueHold    Op = "queue hold"
	QueueRelease Op = "queue release"
	QueueRetry   Op = "queue retry"
	QueueFail    Op = "queue fail"
	QueueReroute Op = "queue reroute"
	QueueRequeue Op = "queue requeue"
	QueueBacklog Op = "queue backlog"
)

const (
	queueRowsMax = 10000 // rows of "queue list": what an answer of a few megabytes holds
	routeMax     = 512   // octets of a next hop: a scheme, a name of RFC 1035 §2.3.4 and a port, amply
)

// Queue is what waits for other hosts; *queue.Queue is one.
type Queue interface {
	// List gives what is selected, oldest first, at most limit of them.
	List(ctx context.Context, s queue.Selection, limit int) ([]queue.Row, error)
	// Act does something to all that is selected, and tells to how many
	// recipients that was.
	Act(ctx context.Context, a queue.Action, s queue.Selection, args queue.Args) (int, error)
	// Backlog tells how much waits, and how long that will take.
	Backlog() queue.Backlog
}

// Selection says which recipients are meant: those to which all that is given
// applies.
type Selection struct {
	ID          string `json:"id,omitempty"` // of a message
	Destination string `json:"destination,omitempty"`
	Sender      string `json:"sender,omitempty"`  // "<>" is the null reverse-path
	Account     string `json:"account,omitempty"` // address of who submitted
	State       string `json:"state,omitempty"`   // queued, deferred, held
	All         bool   `json:"all,omitempty"`     // nothing else is given, and that is meant
}

// QueueRequest is a request about the queue.
type QueueRequest struct {
	Selection
	Reason string `json:"reason,omitempty"` // of hold and fail
	Route  string `json:"route,omitempty"`  // of reroute
}

// QueueRow is one recipient that waits.
type QueueRow struct {
	ID          string    `json:"id"`
	Recipient   string    `json:"recipient"`
	Sender      string    `json:"sender"` // "" is the null reverse-path
	Account     string    `json:"account,omitempty"`
	Destination string    `json:"destination"`
	State       string    `json:"state"` // queued, active, deferred, held
	Received    time.Time `json:"received"`
	Due         time.Time `json:"due,omitzero"`
	Attempts    int       `json:"attempts"`
	Size        int64     `json:"size"`
	Hold        string    `json:"hold,omitempty"` // why it is held
	Last        string    `json:"last,omitempty"` // the last reply or reason
}

// QueueAnswer is the answer to a request about the queue.
type QueueAnswer struct {
	Rows  []QueueRow `json:"rows,omitempty"`
	More  bool       `json:"more,omitempty"`  // there are more rows than were asked for
	Acted int        `json:"acted,omitempty"` // recipients that something was done to
}

// Backlog is how much waits.
type Backlog struct {
	At           time.Time     `json:"at"`
	Loading      bool          `json:"loading,omitempty"` // not all has been read since the start
	Total        BacklogLine   `json:"total"`
	Destinations []BacklogLine `json:"destinations"` // the longest first
	Others       int           `json:"others,omitempty"`
}

// BacklogLine is what waits for one destination.
type BacklogLine struct {
	Destination string    `json:"destination,omitempty"`
	Queued      int       `json:"queued"`
	Deferred    int       `json:"deferred"`
	Held        int       `json:"held"`
	Active      int       `json:"active"`
	Oldest      *int64    `json:"oldest_s"`        // its age in seconds; null: there is none
	Rate        float64   `json:"rate_per_second"` // recipients that end
	Drain       *int64    `json:"drain_s"`         // seconds until all but the held are gone at that rate; null: not known
	Next        time.Time `json:"next,omitzero"`   // attempt
	Down        time.Time `json:"down,omitzero"`   // since when it is not to be had
	Error       string    `json:"error,omitempty"` // the last
	Limit       int       `json:"limit,omitempty"` // attempts at a time
}

// ErrNoQueue says that there is no running host with a queue to ask.
var ErrNoQueue = errors.New("only a running host can do that; start it with `breakwater serve` or `breakwater demo`")

var errNothingSelected = errors.New("nothing is selected: name the id of a message, a destination, an account, a sender, or all")

// queue is do if there is a queue to ask.
func (x *Executor) queue(do func(context.Context, Request, *Answer) error) func(context.Context, Request, *Answer) error {
	if x.Queue == nil {
		return func(context.Context, Request, *Answer) error { return ErrNoQueue }
	}
	return do
}

// selection checks a selection and finds its account.
func (x *Executor) selection(ctx context.Context, s Selection) (queue.Selection, error) {
	out := queue.Selection{ID: s.ID, Destination: s.Destination, Sender: s.Sender, All: s.All}
	if len(s.ID) > nameMax || len(s.Destination) > routeMax || len(s.Sender) > nameMax || len(s.Account) > nameMax {
		return out, fmt.Errorf("a name or address has more than %d octets", nameMax)
	}
	states := map[string]fate.State{"": 0, "queued": fate.Queued, "deferred": fate.Deferred, "held": fate.Held}
	state, ok := states[s.State]
	if !ok {
		return out, fmt.Errorf("no state %q; there are queued, deferred and held", s.State)
	}
	out.State = state
	if d, err := message.ParseDomain(s.Destination); err == nil {
		out.Destination = string(d) // as the queue has it: A-labels, lower case
	}
	id, err := x.accountID(ctx, s.Account)
	out.Account = id
	return out, err
}

func (x *Executor) queueList(ctx context.Context, q Request, a *Answer) error {
	var wish QueueRequest
	if q.Queue != nil {
		wish = *q.Queue
	}
	s, err := x.selection(ctx, wish.Selection)
	if err != nil {
		return err
	}
	if s == (queue.Selection{}) {
		s.All = true
	}
	limit := queueRowsMax
	if q.Limit > 0 {
		limit = min(q.Limit, queueRowsMax)
	}
	rows, err := x.Queue.List(ctx, s, limit+1)
	if err != nil {
		return queueError(s, err)
	}
	a.Queue = &QueueAnswer{More: len(rows) > limit, Rows: []QueueRow{}}
	owner := x.owners()
	for _, r := range rows[:min(len(rows), limit)] {
		a.Queue.Rows = append(a.Queue.Rows, queueRow(r, owner(ctx, r.Account)))
	}
	return nil
}

// owners names accounts, and asks for each only once.
func (x *Executor) owners() func(context.Context, account.ID) string {
	known := map[account.ID]string{0: ""}
	return func(ctx context.Context, id account.ID) string {
		name, ok := known[id]
		if !ok {
			name = fmt.Sprintf("account %d", id) // it has been removed
			if acct, err := x.Accounts.ByID(ctx, id); err == nil {
				name = acct.Address.String()
			}
			known[id] = name
		}
		return name
	}
}

func queueRow(r queue.Row, owner string) QueueRow {
	out := QueueRow{
		ID: r.ID, Recipient: r.To.String(), Sender: r.From.String(), Account: owner, Destination: r.Destination,
		State: r.State.String(), Received: r.Received.UTC(), Attempts: r.Attempts, Size: r.Size, Hold: r.Hold,
		Last: r.Last.Reply,
	}
	if r.Active {
		out.State = "active"
	}
	if !r.Due.IsZero() {
		out.Due = r.Due.UTC()
	}
	if out.Last == "" {
		out.Last = r.Last.Reason
	}
	return out
}

func (x *Executor) queueAct(ctx context.Context, q Request, a *Answer) error {
	actions := map[Op]queue.Action{
		QueueHold: queue.Hold, QueueRelease: queue.Release, QueueRetry: queue.Retry,
		QueueFail: queue.Fail, QueueReroute: queue.Reroute, QueueRequeue: queue.Requeue,
	}
	if q.Queue == nil {
		return errNothingSelected
	}
	s, err := x.selection(ctx, q.Queue.Selection)
	if err != nil {
		return err
	}
	args := queue.Args{Reason: q.Queue.Reason, NextHop: q.Queue.Route, By: "an operator"}
	some := s.ID != "" || s.Destination != "" || s.Sender != "" || s.Account != 0
	switch {
	case !some && !s.All:
		return errNothingSelected
	case some && s.All:
		return errors.New("all, or a selection: not both")
	case len(args.Reason) > fate.ReasonMax:
		return fmt.Errorf("the reason has more than %d octets", fate.ReasonMax)
	case q.Op == QueueFail && args.Reason == "":
		return errors.New("give a reason: the sender is told it")
	case q.Op == QueueReroute && (args.NextHop == "" || len(args.NextHop) > routeMax):
		return errors.New("give a next hop, such as smtp://mx.example.org:25")
	}
	n, err := x.Queue.Act(ctx, actions[q.Op], s, args)
	a.Queue = &QueueAnswer{Acted: n}
	err = queueError(s, err)
	switch {
	case err != nil && n > 0:
		err = fmt.Errorf("after %d recipients: %w", n, err)
	case err == nil && n == 0:
		err = errors.New("nothing that waits is selected, or it is being tried just now; `breakwater queue list` lists what there is")
	}
	return err
}

// queueError says what an operator can do about an error of the queue's.
func queueError(s queue.Selection, err error) error {
	switch {
	case errors.Is(err, fate.ErrNoSuchMessage):
		return fmt.Errorf("no message %s; `breakwater queue list` lists what waits", s.ID)
	case errors.Is(err, queue.ErrLoading):
		return errors.New("the queue is still being read after the start; try again in a moment")
	}
	return err
}

func (x *Executor) queueBacklog(_ context.Context, q Request, a *Answer) error {
	b := x.Queue.Backlog()
	out := Backlog{
		At: b.At.UTC(), Loading: b.Loading, Total: backlogLine(b.At, b.Total),
		Destinations: []BacklogLine{}, Others: b.Others,
	}
	for _, l := range b.Destinations {
		if q.Limit > 0 && len(out.Destinations) == q.Limit {
			out.Others += len(b.Destinations) - q.Limit
			break
		}
		out.Destinations = append(out.Destinations, backlogLine(b.At, l))
	}
	a.Backlog = &out
	return nil
}

func backlogLine(now time.Time, l queue.Line) BacklogLine {
	out := BacklogLine{
		Destination: l.Destination, Queued: l.Queued, Deferred: l.Deferred, Held: l.Held, Active: l.Active,
		Rate: l.Rate, Error: l.Error, Limit: l.Limit,
	}
	if !l.Oldest.IsZero() {
		age := int64(max(now.Sub(l.Oldest), 0) / time.Second)
		out.Oldest = &age
	}
	if l.Drain >= 0 {
		drain := int64((l.Drain + time.Second - 1) / time.Second)
		out.Drain = &drain
	}
	if !l.Next.IsZero() {
		out.Next = l.Next.UTC()
	}
	if !l.Down.IsZero() {
		out.Down = l.Down.UTC()
	}
	return out
}
