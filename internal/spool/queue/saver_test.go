package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestSaver_gathers: results that come within moments share a record; one that
// no other can come after, or that has waited long enough, does not wait.
func TestSaver_gathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		l.slow = 0
		takes := map[string]time.Duration{
			"a@one.example": 1 * time.Millisecond, "b@two.example": 2 * time.Millisecond,
			"c@three.example": 4 * time.Millisecond, "slow@four.example": time.Minute,
		}
		_, end := begin(t, l, Options{}, carrier(func(_ context.Context, j Job) Result {
			rest(takes[j.Message.Recipients[0].Address.String()])
			return all(j, Up, relayed())
		}))
		defer end()
		records := func() (n int) { // since the last call
			l.mu.Lock()
			defer l.mu.Unlock()
			n, l.commits = l.commits, 0
			return n
		}
		send := func(to ...string) {
			for _, a := range to {
				l.accept(mail(a))
			}
		}
		send("a@one.example")
		time.Sleep(time.Millisecond)
		wantState(t, l, 1, 0, fate.Relayed) // at once

		records()
		send("a@one.example", "b@two.example", "c@three.example")
		time.Sleep(4 * time.Millisecond)
		wantState(t, l, 4, 0, fate.Relayed) // at once after the last
		if n := records(); n != 1 {
			t.Errorf("%d records for three results", n)
		}

		records()
		send("slow@four.example", "b@two.example")
		time.Sleep(2*time.Millisecond + saveLinger)
		wantState(t, l, 6, 0, fate.Relayed)
		wantState(t, l, 5, 0, fate.Queued)
		if n := records(); n != 1 {
			t.Errorf("%d records for one result", n)
		}
		time.Sleep(time.Minute)
	})
}
