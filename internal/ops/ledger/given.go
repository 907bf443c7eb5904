package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// given compares the 250s that were given with the messages that were booked
// since the start: those that there are, and those whose books have been
// dropped, less those from before, and none that the host made itself, which
// nobody was given a 250 for. The witness is read first: what it counts
// is booked already.
func (a *Audit) given(ctx context.Context, _ *Result) ([]Finding, error) {
	if a.w.Given == nil {
		return nil, nil
	}
	for again := false; ; again = true {
		given := a.w.Given()
		s, err := a.w.Table.Sums(ctx, fate.Period{})
		if err != nil {
			return nil, fmt.Errorf("count what was booked: %w", err)
		}
		booked := s.Taken() + s.Dropped - a.before
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
