package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	// actMessages is how many messages an action changes with one record.
	actMessages = 500
	// actReports is how many reports of failures are made side by side.
	actReports = 8
	// nextHopMax bounds a next hop in octets: a scheme, a name of RFC 1035
	// §2.3.4 and a port, amply.
	nextHopMax = 512
)

// errNothing says that a Selection does not say anything.
var errNothing = errors.New("nothing is selected; to select everything has to be said")

// Act does something to the selected recipients and tells to how many. Those
// that are being tried at that moment, or that the action does not fit, are
// left alone and not counted.
func (q *Queue) Act(ctx context.Context, a Action, s Selection, args Args) (int, error) {
	if a != Reroute {
		args.NextHop = ""
	}
	args.Reason, args.By = cut(args.Reason, fate.ReasonMax), cut(args.By, fate.ReasonMax)
	if a == Reroute && (args.NextHop == "" || len(args.NextHop) > nextHopMax || strings.ContainsAny(args.NextHop, " \t\r\n")) {
		return 0, errors.New("reroute: no next hop to go to")
	}
	if a < Hold || a > Requeue {
		return 0, fmt.Errorf("no such action: %d", a)
	}
	refs, err := q.selected(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", a, err)
	}
	n := 0
	for lot := range slices.Chunk(byMessage(refs), actMessages) {
		k, err := q.actOn(ctx, a, args, lot)
		n += k
		if err != nil {
			return n, fmt.Errorf("%s: %w", a, err)
		}
	}
	q.log.Info("operator", telemetry.Cmd, a.String(), telemetry.Count, n, telemetry.Reason, args.Reason, telemetry.User, args.By)
	return n, nil
}

// selected gives what a selection picks, oldest first.
func (q *Queue) selected(ctx context.Context, s Selection) ([]ref, error) {
	if s == (Selection{}) {
		return nil, errNothing
	}
	if s == (Selection{All: true}) {
		s = Selection{}
	}
	if q.isLoading() {
		return nil, ErrLoading
	}
	q.takeIn()
	lsn := journal.LSN(0)
	if s.ID != "" {
		m, err := q.fates.ByID(ctx, s.ID)
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", s.ID, err)
		}
		lsn = m.LSN
	}
	var refs []ref
	q.pieces(func(from, upto int) bool {
		refs = q.m.find(q.m.matcher(s, lsn), from, upto, refs)
		return upto < q.m.t.used
	})
	slices.SortFunc(refs, func(a, b ref) int { return cmp.Or(cmp.Compare(a.lsn, b.lsn), cmp.Compare(a.rcpt, b.rcpt)) })
	if s.Sender == "" {
		return refs, nil
	}
	var of []ref
	for _, rs := range byMessage(refs) {
		m, err := q.fates.Load(ctx, rs[0].lsn, rs[0].rcpt)
		if errors.Is(err, fate.ErrNoSuchMessage) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for the sender: %w", err)
		}
		if isSender(m.From, s.Sender) {
			of = append(of, rs...)
		}
	}
	return of, nil
}

func isSender(a message.Address, s string) bool {
	if a.IsZero() {
		return s == "<>"
	}
	return strings.EqualFold(a.String(), s)
}

// byMessage cuts sorted refs where another message begins.
func byMessage(refs []ref) [][]ref {
	var out [][]ref
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].lsn == refs[0].lsn {
			n++
		}
		out, refs = append(out, refs[:n]), refs[n:]
	}
	return out
}

// fits tells whether an action makes sense for an entry.
func (a Action) fits(e *entry) bool {
	switch a {
	case Hold:
		return e.state != fate.Held
	case Release:
		return e.state == fate.Held
	case Retry:
		return e.place != held
	}
	return true
}

// actOn does an action to some messages.
func (q *Queue) actOn(ctx context.Context, a Action, args Args, lot [][]ref) (int, error) {
	q.mu.Lock()
	now := q.now()
	var tasks []*task
	for _, refs := range lot {
		for part := range slices.Chunk(refs, reportMax) {
			if t := q.m.grasp(now, part, a.fits); t != nil {
				tasks = append(tasks, t)
			}
		}
	}
	q.mu.Unlock()
	if a == Fail {
		return q.fail(ctx, args, tasks), nil
	}
	return q.change(ctx, a, args, tasks)
}

// fail gives recipients up and tells their senders.
func (q *Queue) fail(ctx context.Context, args Args, tasks []*task) int {
	ctx = context.WithoutCancel(ctx) // it ends with the queue
	reason := args.Reason
	if reason == "" {
		reason = "Given up by the operator."
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards n
	n := 0
	places := make(chan struct{}, actReports)
	for _, t := range tasks {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			k := q.failOne(ctx, t, reason, args.By)
			mu.Lock()
			defer mu.Unlock()
			n += k
		})
	}
	wg.Wait()
	return n
}

// failOne gives the recipients of a task up and tells how many that were.
func (q *Queue) failOne(ctx context.Context, t *task, reason, by string) (n int) {
	var falls []fall
	defer func() {
		if p := recover(); p != nil {
			q.panicked(p)
			falls, n = nil, 0
		}
		q.settle(t, falls)
	}()
	m, missing := q.message(ctx, t)
	if falls = missing; m != nil {
		falls = q.giveUp(ctx, t, m, func(e fate.Event) fate.Event {
			return fate.Event{At: e.At, Reason: reason, By: by}
		})
	}
	for _, f := range falls {
		if f.state == fate.Bounced {
			n++
		}
	}
	return n
}

// change does an action that is a change of state, with one record.
func (q *Queue) change(ctx context.Context, a Action, args Args, tasks []*task) (int, error) {
	var cs []fate.Change
	moves := make([][]routed, len(tasks))
	var err error
	for i, t := range tasks {
		if a == Reroute || a == Requeue {
			if moves[i], err = q.moves(ctx, t, args); err != nil {
				break
			}
		}
		cs = append(cs, q.orderChanges(t, a, args)...)
	}
	if err == nil && !q.saver.save(context.WithoutCancel(ctx), cs) {
		err = errors.New("the queue has ended")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.wakeUp()
	now, n := q.now(), 0
	for i, t := range tasks {
		if err != nil {
			q.m.settle(now, t, q.m.later(now, t, 0))
			continue
		}
		q.m.obey(now, a, t, moves[i])
		n += len(t.slots)
	}
	return n, err
}

// moves gives where the recipients of a task go from now on: to args.NextHop,
// or where they would go by themselves.
func (q *Queue) moves(ctx context.Context, t *task, args Args) ([]routed, error) {
	m, err := q.fates.Load(ctx, t.lsn, t.rcpts...)
	if err != nil {
		return nil, fmt.Errorf("load message: %w", err)
	}
	var out []routed
	for _, r := range t.rcpts {
		if r >= len(m.Recipients) {
			return nil, fate.ErrNoSuchMessage
		}
		out = append(out, q.route(fate.Open{
			LSN: t.lsn, Rcpt: r, State: fate.Queued, Received: m.Received,
			Account: m.Account, Domain: m.Recipients[r].Address.Domain, Route: args.NextHop,
		}))
	}
	return out, nil
}

// leaves is the state that an action leaves a recipient in. A reroute ends no
// hold: who looks into what is held may yet want to send it elsewhere.
func (a Action) leaves(s fate.State) fate.State {
	switch {
	case a == Hold:
		return fate.Held
	case a == Retry, a == Reroute && s == fate.Held:
		return s
	}
	return fate.Queued
}

// orderChanges are the changes of an action for a task, one for each state.
func (q *Queue) orderChanges(t *task, a Action, args Args) []fate.Change {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := fate.Change{LSN: t.lsn, Event: fate.Event{At: q.o.Clock.Now().UTC(), By: args.By, Reason: args.Reason}}
	if a == Reroute || a == Requeue {
		c.Route = &args.NextHop
	}
	if c.Reason == "" {
		c.Reason = "An operator said: " + a.String() + "."
	}
	of := map[fate.State]int{}
	var cs []fate.Change
	for i, s := range t.slots {
		c.State, c.Due = a.leaves(q.m.t.at(s).state), time.Time{}
		if c.State != fate.Held {
			c.Due = c.At
		}
		if _, ok := of[c.State]; !ok {
			of[c.State] = len(cs)
			cs = append(cs, c)
		}
		at := &cs[of[c.State]]
		at.Rcpt = append(at.Rcpt, t.rcpts[i])
	}
	return cs
}

// obey makes an action true of a task's entries.
func (m *machine) obey(now int64, a Action, t *task, moves []routed) {
	falls := make([]fall, len(t.slots))
	for i, s := range t.slots {
		falls[i] = fall{state: a.leaves(m.t.at(s).state), due: now}
		if moves != nil {
			m.redirect(now, s, moves[i].destination, moves[i].hold)
		}
		if a == Requeue {
			m.t.at(s).step = 0
		}
		if a == Retry || moves != nil {
			m.hurry(now, m.t.at(s).dest)
		}
	}
	m.settle(now, t, falls)
}
