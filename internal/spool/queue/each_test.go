package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// TestQueue_pieces: more recipients than one piece are all told of, counted and
// acted upon, though the lock is given back in between.
func TestQueue_pieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		const messages, each = pieceSlots/100 + 50, 100
		held := func(o fate.Open) (string, string) { return string(o.Domain), "no way out" }
		q := New(Options{Hostname: "mail.demo.test", Rand: zeros{}, Router: held}, l, says(0, Up, relayed()), l)
		if err := q.Each(func(journal.LSN, int) {}); !errors.Is(err, ErrLoading) {
			t.Errorf("Each while loading: %v", err)
		}
		want := map[ref]bool{}
		for i := range messages {
			var to []string
			for k := range each {
				to = append(to, fmt.Sprintf("u%d@d%d.example.org", k, i%7))
			}
			lsn := l.accept(mail(to...))
			for k := range each {
				want[ref{lsn, k}] = true
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		time.Sleep(time.Second)

		seen := map[ref]bool{}
		err := q.Each(func(lsn journal.LSN, rcpt int) {
			if seen[ref{lsn, rcpt}] || !want[ref{lsn, rcpt}] {
				t.Fatalf("%d, %d: twice, or never accepted", lsn, rcpt)
			}
			seen[ref{lsn, rcpt}] = true
			if _, err := q.Contains(lsn, rcpt); err != nil { // which takes the lock
				t.Fatal(err)
			}
		})
		if err != nil || len(seen) != len(want) {
			t.Fatalf("%d of %d, %v", len(seen), len(want), err)
		}
		if b := q.Backlog(); b.Total.Held != len(want) || len(b.Destinations) != 7 {
			t.Errorf("backlog: %d held, %d destinations", b.Total.Held, len(b.Destinations))
		}
		if n, err := q.Act(ctx, Hold, Selection{All: true}, Args{}); n != len(want) || err != nil {
			t.Errorf("held %d, %v", n, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
