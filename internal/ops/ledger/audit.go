package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	everyDefault = 15 * time.Minute
	firstAfter   = time.Minute     // the first audit: the queue has been read by then
	pauseDefault = 5 * time.Second // until what looks wrong is looked at again: what is in flight has landed
	readsDefault = 200             // messages a second: a few percent of what one processor can do

	findingsMax = 1000    // findings that are remembered: more say nothing more
	suspectsMax = 10000   // recipients that are looked at twice; what is beyond is too many to be in flight
	keysMax     = 4 << 20 // open recipients that are compared, 16 octets each while it lasts
	loggedMax   = 20      // findings of one audit that the log has
)

// Result is what an audit found.
type Result struct {
	At          time.Time `json:"at"` // when it ended
	Took        float64   `json:"took_s"`
	Messages    int64     `json:"messages"`    // that there are
	Numbers     int64     `json:"numbers"`     // of these, those that were looked at one by one
	Recounted   int64     `json:"recounted"`   // of these, those of the day that was counted anew
	Open        int64     `json:"open"`        // recipients that were compared with the queue
	Bodies      int64     `json:"bodies"`      // that were opened
	Missing     int64     `json:"missing"`     // recipients or messages without a fate
	Unaccounted []string  `json:"unaccounted"` // their ids, where they are known
	Findings    []Finding `json:"findings"`
	Error       string    `json:"error,omitempty"` // why it could not be finished; the rest is of the audit before
}

// The checks of an audit.
const (
	CheckSum      = "sum"       // the sum of all books, and those that store/fate names
	CheckDay      = "day"       // the running sums of each day
	CheckNumbers  = "numbers"   // each message by itself
	CheckQueue    = "queue"     // open in the books, unknown to the queue
	CheckBooks    = "books"     // in the queue, ended in the books or unknown to them
	CheckBody     = "body"      // of a message that waits
	CheckGiven    = "given"     // answered with 250, not booked
	CheckSetAside = "set-aside" // records that the index could not apply
)

// Finding is one thing that an audit found wrong.
type Finding struct {
	Check string `json:"check"`
	ID    string `json:"id,omitempty"` // of the message, or "record LSN"
	Text  string `json:"text"`

	lsn   journal.LSN
	day   time.Time
	lacks int64 // recipients, or messages, that have no fate for this reason
}

// Table is what the audit reads of store/fate; *fate.Store is one.
type Table interface {
	Fates
	Open(ctx context.Context, fn func(fate.Open) error) error
	Load(ctx context.Context, lsn journal.LSN, rcpts ...int) (*fate.Message, error)
	Recount(ctx context.Context, from time.Time) (fate.Recounted, error)
}

// Queue is what spool/queue holds in memory; *queue.Queue is one.
type Queue interface {
	// Contains tells whether the queue holds a recipient, be it being tried.
	// The error says that it cannot tell yet.
	Contains(lsn journal.LSN, rcpt int) (bool, error)
}

// Walker is a Queue that can name all that it holds: then those are found that
// it should not hold.
type Walker interface {
	// Each gives every recipient that the queue holds, in any order. The error
	// says that it cannot tell yet.
	Each(fn func(lsn journal.LSN, rcpt int)) error
}

// Bodies opens what a message consists of; *mailbox.Store is one.
type Bodies interface {
	OpenMessage(ctx context.Context, lsn journal.LSN) (*journal.Body, error)
}

// Witnesses are what the books are compared with. Only Table must be there.
type Witnesses struct {
	Table  Table
	Queue  Queue
	Bodies Bodies
	Asides Asides
	// Given counts the messages that were answered with 250 since the start, each
	// after it was booked.
	Given func() int64
}

// AuditOptions of an Audit. The zero value works.
type AuditOptions struct {
	Every   time.Duration // between two audits; default 15 min
	Pause   time.Duration // until what looks wrong is looked at again; default 5 s
	Reads   int           // messages a second at most; default 200
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

// Audit checks the books in the background.
type Audit struct {
	o     AuditOptions
	w     Witnesses
	start time.Time

	// Of the goroutine that audits.
	reads      int         // since the last pause
	bodyFrom   journal.LSN // bodies of later messages are next
	numberTill time.Time   // numbers of earlier messages are next; zero: of all
	dayFrom    time.Time   // this day, or a later one, is counted anew next
	known      []Finding   // of the checks that go round, to be looked at each time
	before     int64       // messages that were taken in before the start

	mu   sync.Mutex
	last *Result // guarded by mu; never changed once it is there
}

// NewAudit makes an Audit. It is made before any mail is taken: Given counts
// from here, and what is booked now was booked before.
func NewAudit(ctx context.Context, o AuditOptions, w Witnesses) (*Audit, error) {
	if o.Every <= 0 {
		o.Every = everyDefault
	}
	if o.Pause <= 0 {
		o.Pause = pauseDefault
	}
	if o.Reads <= 0 {
		o.Reads = readsDefault
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "ledger")
	s, err := w.Table.Sums(ctx, fate.Period{})
	if err != nil {
		return nil, fmt.Errorf("count what was booked: %w", err)
	}
	return &Audit{o: o, w: w, start: o.Clock.Now(), before: s.Taken() + s.Dropped}, nil
}

// Last is what the last audit found; nil: there was none. It is not to be
// changed.
func (a *Audit) Last() *Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// Unaccounted are the ids that the last audit found to be without a fate.
func (a *Audit) Unaccounted() []string {
	r := a.Last()
	if r == nil {
		return nil
	}
	return r.Unaccounted
}

// Run audits until ctx is done. The error is always nil.
func (a *Audit) Run(ctx context.Context) error {
	wait := min(firstAfter, a.o.Every)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.o.Clock.After(wait):
		}
		a.Once(ctx)
		wait = a.o.Every
	}
}

// Once makes one audit. One at a time.
func (a *Audit) Once(ctx context.Context) Result {
	began := a.o.Clock.Now()
	r := Result{Unaccounted: []string{}, Findings: []Finding{}}
	var found []Finding
	var errs []error
	for _, check := range []func(context.Context, *Result) ([]Finding, error){
		a.sums, a.asides, a.given, a.day, a.compare, a.bodies, a.numbers,
	} {
		some, err := check(ctx, &r)
		found = append(found, some...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	now := a.o.Clock.Now()
	r.At, r.Took = now.UTC(), now.Sub(began).Seconds()
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			return r // the host stops: nothing was found out
		}
		r.Error = err.Error()
		found = a.carry(found)
	}
	a.conclude(&r, found)
	return r
}

// carry adds what the audit before has found to what this one has: it was not
// finished, so that it cannot say that something is mended.
func (a *Audit) carry(found []Finding) []Finding {
	if last := a.Last(); last != nil {
		for _, f := range last.Findings {
			if !slices.ContainsFunc(found, f.is) {
				found = append(found, f)
			}
		}
	}
	return found
}

// is tells whether two findings are of the same thing.
func (f Finding) is(o Finding) bool { return f.Check == o.Check && f.ID == o.ID }

// conclude makes the result of the findings, and tells of it.
func (a *Audit) conclude(r *Result, found []Finding) {
	before := a.Last()
	logged := 0
	counted := map[string]bool{}
	for _, f := range found {
		if before == nil || !slices.ContainsFunc(before.Findings, f.is) {
			if logged++; logged <= loggedMax {
				a.o.Log.Error("the books are wrong", telemetry.Check, f.Check, telemetry.Env, f.ID, telemetry.Reason, f.Text)
			}
		}
		if f.lacks > 0 && !(f.ID != "" && counted[f.ID]) {
			r.Missing += f.lacks
			name := f.ID
			if name == "" {
				name = f.Text
			}
			r.Unaccounted = append(r.Unaccounted, name)
			counted[f.ID] = true
		}
	}
	r.Findings = append(r.Findings, found[:min(len(found), findingsMax)]...)
	r.Unaccounted = r.Unaccounted[:min(len(r.Unaccounted), idsMax)]
	m := a.o.Metrics
	m.unaccounted.Set(float64(r.Missing))
	m.findings.Set(float64(len(found)))
	switch {
	case r.Error != "":
		m.audits.WithLabelValues("failed").Inc()
		a.o.Log.Warn("audit of the books was not finished", telemetry.Err, r.Error)
	case len(found) > 0:
		m.audits.WithLabelValues("found").Inc()
		m.last.Set(float64(r.At.Unix()))
	default:
		m.audits.WithLabelValues("clean").Inc()
		m.last.Set(float64(r.At.Unix()))
	}
	a.mu.Lock()
	a.last = r
	a.mu.Unlock()
}

// pace counts one read, and waits when there were enough for a second.
func (a *Audit) pace(ctx context.Context) error {
	if a.reads++; a.reads < a.o.Reads {
		return ctx.Err()
	}
	a.reads = 0
	return a.wait(ctx, time.Second)
}

func (a *Audit) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a.o.Clock.After(d):
		return nil
	}
}

// sums checks the sum of all books, twice if it is wrong.
func (a *Audit) sums(ctx context.Context, r *Result) ([]Finding, error) {
	var before map[string]bool
	for {
		s, err := a.w.Table.Sums(ctx, fate.Period{})
		if err != nil {
			return nil, fmt.Errorf("add up the books: %w", err)
		}
		r.Messages = s.Messages
		diff := s.Missing()
		if diff == 0 && len(s.Unaccounted) == 0 {
			return nil, nil
		}
		if before != nil {
			return sumFindings(s, diff, before), nil
		}
		before = map[string]bool{}
		for _, id := range s.Unaccounted {
			before[id] = true
		}
		if err := a.wait(ctx, a.o.Pause); err != nil {
			return nil, err
		}
	}
}

// sumFindings are the messages that were wrong both times, and what is left of
// the difference without them.
func sumFindings(s fate.Sums, diff int64, before map[string]bool) []Finding {
	var out []Finding
	for _, id := range s.Unaccounted {
		if before[id] {
			out = append(out, Finding{Check: CheckSum, ID: id, Text: "its recipients and their fates do not add up", lacks: 1})
		}
	}
	if diff != 0 && len(out) == 0 {
		out = append(out, Finding{Check: CheckSum, Text: fmt.Sprintf("%d recipients were accepted, %d have a fate", s.Accepted, s.Accepted-diff), lacks: max(diff, -diff)})
	}
	return out
}

// asides names the records that the index set aside: nobody can say what they
// held.
func (a *Audit) asides(ctx context.Context, _ *Result) ([]Finding, error) {
	if a.w.Asides == nil {
		return nil, nil
	}
	all, err := a.w.Asides.SetAsides(ctx)
	if err != nil {
		return nil, fmt.Errorf("list records that were set aside: %w", err)
	}
	var out []Finding
	for _, s := range all {
		out = append(out, Finding{Check: CheckSetAside, ID: fate.RecordName(s.LSN), Text: "the index could not apply it: " + s.Reason, lsn: s.LSN, lacks: 1})
	}
	return out, nil
}
