package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
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
	queueRowsMax   = 10000 // rows of "queue list": what an answer of a few megabytes holds
	queueReasonMax = 256   // octets of a reason: what the books keep of one (fate.ReasonMax)
	routeMax       = 512   // octets of a next hop: a scheme, a name of RFC 1035 §2.3.4 and a port, amply
)

// Queue is what waits for other hosts.
type Queue interface {
	// List gives what is selected, oldest first, at most limit of them, and
	// how many there are.
	List(ctx context.Context, s Selection, limit int) (rows []QueueRow, total int, err error)
	// Act does one of the requests from QueueHold to QueueRequeue to all that
	// is selected, and tells how many recipients that were. arg is the reason,
	// or the next hop.
	Act(ctx context.Context, op Op, s Selection, arg string) (int, error)
	// Backlog tells how much waits, and how long that will take.
	Backlog() Backlog
}

// Selection says which recipients are meant: those to which all that is given
// applies.
type Selection struct {
	ID          string     `json:"id,omitempty"` // of a message
	Destination string     `json:"destination,omitempty"`
	Sender      string     `json:"sender,omitempty"`
	Owner       string     `json:"account,omitempty"` // address of the account that submitted
	Account     account.ID `json:"-"`                 // of Owner; Executor has looked it up
	State       string     `json:"state,omitempty"`   // queued, deferred, held, active
	All         bool       `json:"all,omitempty"`     // nothing else is given, and that is meant
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
	State       string    `json:"state"`
	Received    time.Time `json:"received"`
	Due         time.Time `json:"due,omitzero"`
	Attempts    int       `json:"attempts"`
	Size        int64     `json:"size"`
	Route       string    `json:"route,omitempty"`
	Last        string    `json:"last,omitempty"` // the last reply or reason
}

// Backlog is how much waits. Ages and times are in whole seconds.
type Backlog struct {
	At           time.Time     `json:"at"`
	Total        BacklogLine   `json:"total"`
	Destinations []BacklogLine `json:"destinations"` // the longest first
	More         int           `json:"more,omitempty"`
}

// BacklogLine is what waits for one destination.
type BacklogLine struct {
	Destination string    `json:"destination,omitempty"`
	Queued      int       `json:"queued"`
	Deferred    int       `json:"deferred"`
	Held        int       `json:"held"`
	Active      int       `json:"active"`
	Oldest      int64     `json:"oldest_s"`      // age
	Rate        float64   `json:"rate"`          // recipients that left, a second
	Drain       *int64    `json:"drain_s"`       // until nothing is left, at this rate; null: not known
	Next        time.Time `json:"next,omitzero"` // attempt
	LastError   string    `json:"last_error,omitempty"`
}

// QueueAnswer is the answer to a request about the queue.
type QueueAnswer struct {
	Rows  []QueueRow `json:"rows,omitempty"`
	Total int        `json:"total"` // of rows that there are; of recipients that were acted on
}

// ErrNoQueue says that there is no running host with a queue to ask.
var ErrNoQueue = errors.New("only a running host can do that; start it with `breakwater serve` or `breakwater demo`")

// queue is do if there is a queue to ask.
func (x *Executor) queue(do func(context.Context, Request, *Answer) error) func(context.Context, Request, *Answer) error {
	if x.Queue == nil {
		return func(context.Context, Request, *Answer) error { return ErrNoQueue }
	}
	return do
}

// selection checks a selection and finds its account.
func (x *Executor) selection(ctx context.Context, s Selection) (Selection, error) {
	if len(s.ID) > nameMax || len(s.Destination) > routeMax || len(s.Sender) > nameMax || len(s.Owner) > nameMax {
		return s, fmt.Errorf("a name or address has more than %d octets", nameMax)
	}
	switch s.State {
	case "", "queued", "deferred", "held", "active":
	default:
		return s, fmt.Errorf("no state %q; there are queued, deferred, held and active", s.State)
	}
	id, err := x.accountID(ctx, s.Owner)
	s.Account = id
	return s, err
}

func (x *Executor) queueList(ctx context.Context, q Request, a *Answer) error {
	var s Selection
	if q.Queue != nil {
		s = q.Queue.Selection
	}
	s, err := x.selection(ctx, s)
	if err != nil {
		return err
	}
	limit := queueRowsMax
	if q.Limit > 0 {
		limit = min(q.Limit, queueRowsMax)
	}
	rows, total, err := x.Queue.List(ctx, s, limit)
	a.Queue = &QueueAnswer{Rows: rows, Total: total}
	return err
}

func (x *Executor) queueAct(ctx context.Context, q Request, a *Answer) error {
	if q.Queue == nil {
		return errNothingSelected
	}
	s, err := x.selection(ctx, q.Queue.Selection)
	if err != nil {
		return err
	}
	some := s.ID != "" || s.Destination != "" || s.Sender != "" || s.Account != 0
	arg := q.Queue.Reason
	switch {
	case !some && !s.All:
		return errNothingSelected
	case some && s.All:
		return errors.New("all, or a selection: not both")
	case len(arg) > queueReasonMax:
		return fmt.Errorf("the reason has more than %d octets", queueReasonMax)
	case q.Op == QueueFail && arg == "":
		return errors.New("give a reason: the sender is told it")
	case q.Op == QueueReroute && (q.Queue.Route == "" || len(q.Queue.Route) > routeMax):
		return errors.New("give a next hop, such as smtp://mx.example.org:25")
	case q.Op == QueueReroute:
		arg = q.Queue.Route
	}
	n, err := x.Queue.Act(ctx, q.Op, s, arg)
	a.Queue = &QueueAnswer{Total: n}
	if err == nil && n == 0 {
		err = errors.New("nothing that waits is selected; `breakwater queue list` lists what there is")
	}
	return err
}

var errNothingSelected = errors.New("nothing is selected: name the id of a message, a destination, an account, a sender, or all")

func (x *Executor) queueBacklog(_ context.Context, _ Request, a *Answer) error {
	b := x.Queue.Backlog()
	a.Backlog = &b
	return nil
}
