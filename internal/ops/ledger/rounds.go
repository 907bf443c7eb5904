package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// The checks of this file look at some messages of many in each audit, and go
// on from there in the next, so that an audit ends.
const (
	bodiesMax   = 5000    // bodies that one audit opens: half a minute at the usual pace
	numbersMax  = 2000    // messages that one audit looks at one by one
	numbersPage = 100     // of them in one question to the index
	blockMax    = 4 << 10 // octets of a body that are read, and so verified with their chunk
)

// errEnough ends a walk.
var errEnough = errors.New("enough")

// keep puts the findings of one check in the place of those known before.
func (a *Audit) keep(check string, found []Finding) {
	a.known = slices.DeleteFunc(a.known, func(f Finding) bool { return f.Check == check })
	a.known = append(a.known, found[:min(len(found), findingsMax)]...)
}

// again gives the messages that a check has found wrong before.
func (a *Audit) again(check string) []journal.LSN {
	var out []journal.LSN
	for _, f := range a.known {
		if f.Check == check {
			out = append(out, f.lsn)
		}
	}
	return out
}

// bodies opens the bodies of messages that wait.
func (a *Audit) bodies(ctx context.Context, r *Result) ([]Finding, error) {
	if a.w.Bodies == nil {
		return nil, nil
	}
	lsns := a.again(CheckBody)
	known := len(lsns)
	err := a.w.Table.Open(ctx, func(o fate.Open) error {
		if o.LSN > a.bodyFrom && (len(lsns) == known || lsns[len(lsns)-1] != o.LSN) {
			if lsns = append(lsns, o.LSN); len(lsns)-known == bodiesMax {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("list what is open: %w", err)
	}
	var out []Finding
	for i, lsn := range lsns {
		if i >= known && slices.Contains(lsns[:known], lsn) {
			continue
		}
		r.Bodies++
		f, err := a.body(ctx, lsn)
		if err != nil {
			return out, err
		}
		out = append(out, f...)
	}
	a.bodyFrom = 0 // all round
	if errors.Is(err, errEnough) {
		a.bodyFrom = lsns[len(lsns)-1]
	}
	a.keep(CheckBody, out)
	return out, nil
}

// body reads the beginning of a message, and says what is wrong with it if
// anybody still waits for it.
func (a *Audit) body(ctx context.Context, lsn journal.LSN) ([]Finding, error) {
	if err := a.pace(ctx); err != nil {
		return nil, err
	}
	wrong := a.open(ctx, lsn)
	if wrong == nil {
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m, err := a.w.Table.Load(ctx, lsn)
	switch {
	case errors.Is(err, fate.ErrNoSuchMessage):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up message %s: %w", lsn, err)
	}
	f := Finding{Check: CheckBody, ID: m.ID, lsn: lsn, Text: "its body cannot be read: " + wrong.Error()}
	open := int64(0)
	for i := range m.Recipients {
		if !m.Recipients[i].State.Ended() {
			open++
		}
	}
	if open == 0 {
		return nil, nil // it ended meanwhile
	}
	var damage *journal.DamageError
	if !errors.As(wrong, &damage) {
		f.lacks = open // else the queue will set it aside, which is a fate
	}
	return []Finding{f}, nil
}

func (a *Audit) open(ctx context.Context, lsn journal.LSN) error {
	b, err := a.w.Bodies.OpenMessage(ctx, lsn)
	if err != nil {
		return err
	}
	_, err = b.ReadAt(make([]byte, min(b.Size(), blockMax)), 0)
	return errors.Join(err, b.Close())
}

// day counts one day anew, from the oldest on to the newest, and round. The
// store counts twice in one moment, so that nothing is in flight between.
func (a *Audit) day(ctx context.Context, r *Result) ([]Finding, error) {
	var out []Finding
	look := func(from time.Time) (fate.Recounted, error) {
		d, err := a.w.Table.Recount(ctx, from)
		if err != nil {
			return d, err
		}
		r.Recounted += d.Anew.Messages
		f := Finding{
			Check: CheckDay, ID: "day " + d.Day.Format(time.DateOnly), lacks: 1, day: d.Day,
			Text: fmt.Sprintf("%d of its running sums are wrong: they have %+v, its messages %+v", d.Wrong, d.Running, d.Anew),
		}
		if d.Wrong > 0 && !slices.ContainsFunc(out, f.is) {
			out = append(out, f)
		}
		return d, nil
	}
	next := a.dayFrom
	for _, f := range a.known {
		if f.Check == CheckDay && !f.day.Equal(next) {
			if _, err := look(f.day); err != nil && !errors.Is(err, fate.ErrNoSuchMessage) {
				return nil, err
			}
		}
	}
	d, err := look(next)
	if errors.Is(err, fate.ErrNoSuchMessage) && !next.IsZero() {
		d, err = look(time.Time{}) // all round
	}
	switch {
	case err == nil:
		a.dayFrom = d.Day.AddDate(0, 0, 1)
	case !errors.Is(err, fate.ErrNoSuchMessage):
		return nil, err
	}
	a.keep(CheckDay, out)
	return out, nil
}

// numbers looks at messages one by one, from the newest back to the oldest.
func (a *Audit) numbers(ctx context.Context, r *Result) ([]Finding, error) {
	var out []Finding
	for _, lsn := range a.again(CheckNumbers) {
		m, err := a.w.Table.Load(ctx, lsn)
		if errors.Is(err, fate.ErrNoSuchMessage) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up message %s: %w", lsn, err)
		}
		out = append(out, numbersOf(m)...)
	}
	for left := numbersMax; left > 0; left -= numbersPage {
		n, err := a.page(ctx, func(m *fate.Message) {
			for _, f := range numbersOf(m) {
				if !slices.ContainsFunc(out, f.is) {
					out = append(out, f)
				}
			}
		})
		if err != nil {
			return out, fmt.Errorf("look through the books: %w", err)
		}
		r.Numbers += int64(n)
		if n < numbersPage {
			a.numberTill = time.Time{} // all round
			break
		}
		for range n {
			if err := a.pace(ctx); err != nil {
				return out, err
			}
		}
	}
	a.keep(CheckNumbers, out)
	return out, nil
}

// page reads the next messages back in time.
func (a *Audit) page(ctx context.Context, fn func(*fate.Message)) (n int, err error) {
	var first, last time.Time
	err = a.w.Table.Trace(ctx, fate.Find{Until: a.numberTill, Limit: numbersPage}, func(m *fate.Message) error {
		if n++; n == 1 {
			first = m.Received
		}
		last = m.Received
		fn(m)
		return nil
	})
	a.numberTill = last
	if last.Before(first) {
		a.numberTill = last.Add(time.Microsecond) // others of the same moment may not have been on the page
	}
	return n, err
}

// numbersOf checks one message against itself.
func numbersOf(m *fate.Message) []Finding {
	wrong := func(format string, args ...any) []Finding {
		return []Finding{{Check: CheckNumbers, ID: m.ID, Text: fmt.Sprintf(format, args...), lsn: m.LSN, lacks: 1}}
	}
	if len(m.Recipients) == 0 {
		return wrong("it was accepted for nobody")
	}
	if m.Miscounted {
		return wrong("the sums count its recipients otherwise than they are")
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.State.String() == "unknown" {
			return wrong("%s is in state %d, which there is none of", r.Address, r.State)
		}
		for j, e := range r.Events {
			if e.State.Ended() && (j+1 < len(r.Events) || e.State != r.State) {
				return wrong("%s went on after it had ended as %s", r.Address, e.State)
			}
		}
		if n := len(r.Events); n > 0 && r.State.Ended() && !r.Events[n-1].State.Ended() {
			return wrong("%s is %s, and nothing in its life says so", r.Address, r.State)
		}
	}
	return nil
}
