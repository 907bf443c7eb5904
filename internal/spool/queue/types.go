package queue

import (
	"context"
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// ErrFull says that the queue holds as many recipients as it may: mail for
// others is not to be taken now.
var ErrFull = errors.New("the queue is full")

// ErrLoading says that the queue has not read its recipients yet.
var ErrLoading = errors.New("the queue is still being read")

// Fates is where the fate of every recipient is kept: *fate.Store.
type Fates interface {
	// Open gives all recipients that have not ended, oldest first.
	Open(ctx context.Context, fn func(fate.Open) error) error
	// Load may leave recipients out that are not named, if any are.
	Load(ctx context.Context, lsn journal.LSN, rcpts ...int) (*fate.Message, error)
	ByID(ctx context.Context, id string) (*fate.Message, error)
	// Commit is durable on return.
	Commit(ctx context.Context, cs ...fate.Change) error
}

// Bodies opens what a message consists of: *mailbox.Store.
type Bodies interface {
	OpenMessage(ctx context.Context, lsn journal.LSN) (*journal.Body, error)
}

// Carrier makes attempts.
type Carrier interface {
	// Carry makes one attempt for some recipients of one message, all of one
	// destination. It returns soon after the context ends.
	Carry(ctx context.Context, j Job) Result
}

// Job is what one attempt is about.
type Job struct {
	// Destination is the recipients' domain, or the next hop that the Router
	// or an operator names instead.
	Destination string
	Message     *fate.Message
	Rcpt        []int // places in Message.Recipients, ascending
}

// Result is what came of an attempt.
type Result struct {
	Outcomes []Outcome // one for each of Job.Rcpt, in its order
	Health   Health
	Why      string // of Busy and Down, one sentence
	// Done is called once what came of the attempt is durable, or nothing came
	// of it: the Carrier keeps back until then what a next attempt could use,
	// so that a crash sends one message again for each connection, and no
	// more. It may be nil.
	Done func()
}

// Outcome is what came of an attempt for one recipient. The State of its
// Event is Relayed, Delivered, Deferred, Bounced, Discarded or SetAside; At
// is set by the queue where it is zero.
type Outcome struct {
	fate.Event
	RetryAfter time.Duration // of Deferred; 0: by the schedule
	// Passed says of Relayed and Delivered that the next host has taken over
	// what is to be told to the sender (RFC 3461 §5.2.1), so that nothing is
	// told from here.
	Passed bool
}

// Health is what an attempt says about its destination.
type Health uint8

// What there is to say of a destination.
const (
	// Unknown: the attempt ended before the destination had a say.
	Unknown Health = iota
	// Up: it answered, whatever it thought of the message.
	Up
	// Busy: it wants less: 421, too many connections, 4xx that are not about
	// who writes to whom.
	Busy
	// Down: it is not to be had: no connection, no answer of the DNS, a
	// policy of TLS that it does not meet.
	Down
)

// String is the word in logs and tables.
func (h Health) String() string {
	switch h {
	case Up:
		return "up"
	case Busy:
		return "busy"
	case Down:
		return "down"
	}
	return "unknown"
}

// Poster sends the host's own mail.
type Poster interface {
	// Post is durable on return, and with it the notice's Changes.
	Post(ctx context.Context, n Notice) (id string, err error)
}

// Notice is a message that tells a sender what became of a message.
type Notice struct {
	To      message.Address
	Sender  message.Address // the zero Address is the null reverse-path
	Body    []byte          // the whole message
	Changes []fate.Change   // become true with it; the Poster fills in their DSN
	// Receipt says that it tells of success: a sender who lives here gets it
	// into the Sent mailbox, as seen.
	Receipt bool
}

// Router says where a recipient's mail goes: a domain or a next hop. hold, if
// it is not empty, says why it cannot go anywhere as the host is set up.
type Router func(o fate.Open) (destination, hold string)

// Action is what an operator does to recipients of the queue.
type Action uint8

// The actions. A recipient that is being tried at that moment is left alone.
const (
	Hold    Action = 1 // is not tried, warned of or given up until released
	Release Action = 2 // ends a Hold
	Retry   Action = 3 // is tried at once
	Fail    Action = 4 // is given up, and its sender told
	Reroute Action = 5 // goes to Args.NextHop from now on
	Requeue Action = 6 // forgets holds, reroutes and what was tried before
)

// String is the action's word on the command line.
func (a Action) String() string {
	switch a {
	case Hold:
		return "hold"
	case Release:
		return "release"
	case Retry:
		return "retry"
	case Fail:
		return "fail"
	case Reroute:
		return "reroute"
	case Requeue:
		return "requeue"
	}
	return "unknown"
}

// Args go with an Action.
type Args struct {
	Reason  string // of Hold and Fail, one sentence
	NextHop string // of Reroute
	By      string // who acts
}

// Selection picks recipients: those that meet everything that is set. One
// that sets nothing picks nothing, unless All is set.
type Selection struct {
	ID          string // of the message
	Destination string // where they go, or the domain of their addresses
	Sender      string // the reverse-path; "<>" is the null one
	Account     account.ID
	State       fate.State // Queued, Deferred or Held; 0 is any
	All         bool
}

// Row is one open recipient for people.
type Row struct {
	ID          string // of the message
	LSN         journal.LSN
	Rcpt        int // its place in the message
	From, To    message.Address
	Account     account.ID
	Size        int64
	Received    time.Time
	Destination string
	State       fate.State
	Active      bool      // is being tried now
	Due         time.Time // not before; zero if it is held
	Attempts    int
	Hold        string // why it is held
	Last        fate.Event
}

// Backlog is how far behind the queue is.
type Backlog struct {
	At      time.Time
	Loading bool // not all recipients have been read yet
	Total   Line
	// Destinations are the largest, largest first; Others counts the rest.
	Destinations []Line
	Others       int
}

// Line is the backlog of one destination, or of all.
type Line struct {
	Destination string
	// Recipients by state. Active ones are counted nowhere else.
	Queued, Deferred, Held, Active int
	Oldest                         time.Time     // when the oldest was received; zero if there is none
	Rate                           float64       // recipients that end in a second, over about a minute
	Drain                          time.Duration // until all but the held have gone at that Rate; -1 is not known
	Next                           time.Time     // the next attempt; zero if one is under way or none is to come
	Down                           time.Time     // since when it is not to be had; zero if it is
	Error                          string        // what it last said or failed by
	Limit                          int           // attempts at a time
}
