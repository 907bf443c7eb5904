package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

const (
	windowMax  = 48 * time.Hour // of messages that are counted anew each time
	windowKeep = 24 * time.Hour // of them stay in the window: a message older than this has been booked, or never will be
)

// window counts the messages that were booked since the start, without
// counting all of them each time: those received before since are in before,
// and may be forgotten by now.
type window struct {
	since  time.Time
	before int64
}

// count gives all since the start.
func (w *window) count(ctx context.Context, t Fates, now time.Time) (int64, error) {
	if now.Sub(w.since) > windowMax {
		end := now.Add(-windowKeep).Truncate(time.Second)
		s, err := t.Sums(ctx, fate.Period{Since: w.since, Until: end})
		if err != nil {
			return 0, err
		}
		w.since, w.before = end, w.before+s.Messages
	}
	s, err := t.Sums(ctx, fate.Period{Since: w.since})
	return w.before + s.Messages, err
}

// given compares the 250s that were given with the messages that are booked.
// The witness is read first: what it counts is booked already.
func (a *Audit) given(ctx context.Context, _ *Result) ([]Finding, error) {
	if a.w.Given == nil {
		return nil, nil
	}
	for again := false; ; again = true {
		given := a.w.Given()
		booked, err := a.booked.count(ctx, a.w.Table, a.o.Clock.Now())
		if err != nil {
			return nil, fmt.Errorf("count what was booked: %w", err)
		}
		if booked >= given {
			return nil, nil
		}
		if again {
			return []Finding{{
				Check: CheckGiven, lacks: given - booked,
				Text: fmt.Sprintf("%d messages were answered with 250 since %s, %d are booked", given, a.start.UTC().Format(time.RFC3339), booked),
			}}, nil
		}
		if err := a.wait(ctx, a.o.Pause); err != nil {
			return nil, err
		}
	}
}
