package queue

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestQueue_recipientsAscend: whatever order the recipients of a message come
// to lie in, those of an attempt and of a change ascend: the books take no
// others.
func TestQueue_recipientsAscend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		q, end := begin(t, l, Options{}, carrier(func(_ context.Context, j Job) Result {
			if !slices.IsSorted(j.Rcpt) {
				t.Errorf("an attempt for recipients %v", j.Rcpt)
			}
			if j.Destination == "gone.test" {
				return all(j, Up, relayed())
			}
			return all(j, Down, fate.Event{State: fate.Deferred, Reason: "No host of it can be reached."})
		}))
		var to []string
		for i := range 20 {
			to = append(to, fmt.Sprintf("u%d@gone.test", i))
		}
		l.accept(mail(to...))
		time.Sleep(time.Minute) // their slots are free, in some order
		to = nil
		for i := range 20 {
			to = append(to, fmt.Sprintf("u%d@d%d.test", i, i%2))
		}
		lsn := l.accept(mail(to...))
		for i := range 10 { // so that they are not due together either
			time.Sleep(7 * time.Minute)
			if _, err := q.Act(t.Context(), Retry, Selection{Destination: fmt.Sprintf("d%d.test", i%2)}, Args{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(6 * 24 * time.Hour) // warned of, and given up
		for i := range 20 {
			wantState(t, l, lsn, i, fate.Bounced)
		}
		if n := len(l.told()); n > 4 {
			t.Errorf("%d reports of one message", n)
		}
		end()
	})
}
