package fate

import (
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// The facts that are kept are the youngest, and no more than so many.
func TestRecent_bound(t *testing.T) {
	var c recent
	accept := func(lsn journal.LSN, octets int) {
		e := journal.AppendField(nil, tagAccepted, make([]byte, octets))
		c.note(journal.Record{LSN: lsn, Envelope: e}, []Update{{Open: Open{LSN: lsn}, Fresh: true}})
	}
	const each = recentBytes / 16
	for lsn := journal.LSN(1); lsn <= 100; lsn++ {
		accept(lsn, each)
	}
	if n := len(c.young) + len(c.old); n > 32 || c.get(50) != nil || len(c.get(100)) != each || len(c.get(90)) != each {
		t.Errorf("%d are kept, of which %d octets of the last", n, len(c.get(100)))
	}
	if accept(101, recentBytes); c.get(101) != nil {
		t.Error("one is kept that is all that may be")
	}
	c.note(journal.Record{LSN: 102}, []Update{{Open: Open{LSN: 100}}})
	if c.get(100) != nil {
		t.Error("one is kept of which more is known")
	}
}

// While Open reads, only what it has not come to is kept for it: a queue that
// is long in being read is sent from meanwhile.
func TestScan_keepsWhatIsToCome(t *testing.T) {
	s := New(Options{})
	sc, end := s.begin()
	defer end()
	sc.at = place{7, 3}
	for _, p := range []place{{6, 9}, {7, 2}, {7, 3}, {7, 4}, {8, 0}} {
		s.overtake([]Update{{Open: Open{LSN: p.lsn, Rcpt: p.n}}})
	}
	if len(sc.told) != 2 || !sc.passed(place{7, 3}) || sc.passed(place{7, 4}) {
		t.Errorf("kept are %v", sc.told)
	}
}
