package queue

import (
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// TestQueue_ends: of what ends while the queue is read, only that waits until
// it is read which may be of a message that was accepted meanwhile.
func TestQueue_ends(t *testing.T) {
	q := New(Options{Hostname: "mail.demo.test"}, nil, nil, nil)
	update := func(lsn journal.LSN, s fate.State, fresh bool) {
		q.Update([]fate.Update{{Open: fate.Open{LSN: lsn, State: s}, Fresh: fresh}})
	}
	update(1, fate.Deferred, false)
	update(1, fate.Relayed, false)
	update(5, fate.Queued, true)
	update(5, fate.Relayed, false)
	update(2, fate.Bounced, false)
	if ends := q.ends(); len(ends) != 2 || ends[0].lsn != 1 || ends[1].lsn != 2 {
		t.Errorf("taken out: %v", ends)
	}
	if fresh, ends := q.inbox.fresh, q.inbox.ends; len(fresh) != 1 || fresh[0].LSN != 5 || len(ends) != 1 || ends[0].lsn != 5 {
		t.Errorf("left: %v, %v", fresh, ends)
	}
}
