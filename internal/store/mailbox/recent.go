package mailbox

import (
	"sort"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// recent remembers where the latest messages lie: most are opened within a
// second, to be sent on or by somebody who waits for them, and a look into the
// index costs more than the reading. What it says may be out of date, which the
// journal notices: ErrGone.
type recent struct {
	mu   sync.Mutex
	ring [recentMax]located // guarded by mu; by LSN, the oldest at n % recentMax once it is full
	n    int                // guarded by mu: how many were ever added
}

type located struct {
	lsn journal.LSN
	pos journal.Position
}

// add takes a message, whose LSN is higher than any before.
func (r *recent) add(lsn journal.LSN, pos journal.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.n%recentMax] = located{lsn, pos}
	r.n++
}

// find gives where a message lay when it was added.
func (r *recent) find(lsn journal.LSN) (journal.Position, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := min(r.n, recentMax)
	at := func(i int) *located { return &r.ring[(r.n-have+i)%recentMax] }
	i := sort.Search(have, func(i int) bool { return at(i).lsn >= lsn })
	if i == have || at(i).lsn != lsn {
		return journal.Position{}, false
	}
	return at(i).pos, true
}
