package mailbox

import (
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

func TestRecent_forgetsTheOldest(t *testing.T) {
	var r recent
	if _, ok := r.find(1); ok {
		t.Error("found in nothing")
	}
	const added = recentMax + 100
	for i := 1; i <= added; i++ {
		r.add(journal.LSN(2*i), journal.Position{Offset: int64(i)})
	}
	for i := range added + 2 {
		p, ok := r.find(journal.LSN(2 * i))
		if want := i > added-recentMax && i <= added; ok != want || ok && p.Offset != int64(i) {
			t.Fatalf("%d of %d: %v %v", i, added, p, ok)
		}
		if _, ok := r.find(journal.LSN(2*i + 1)); ok {
			t.Fatalf("found what is not there, behind %d", i)
		}
	}
}
