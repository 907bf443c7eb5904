package queue

import (
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestMachine_domainOfAHop: a domain whose mail all goes by a next hop is not
// forgotten while there is mail for it, whatever was before.
func TestMachine_domainOfAHop(t *testing.T) {
	answers := map[bool]answer{false: {after: time.Second, health: Up}, true: {after: time.Second, health: Busy}}
	later := false
	w := newWorld(t, nil, func(*world, *task) answer { return answers[later] })
	w.verify = 1
	const hop = "smtp://relay.test:25"
	add := func() {
		w.lsn++
		w.m.add(w.now, fate.Open{LSN: w.lsn, State: fate.Queued, Received: timeOf(w.now), Domain: message.Domain("d.test")}, hop, "")
	}
	add()
	w.at(idleKeep/2, func() { later = true; add() })
	w.at(3*idleKeep, func() {
		if got := w.m.find(w.m.matcher(Selection{Destination: "d.test"}, 0), 0, w.m.t.used, nil); len(got) != 1 {
			t.Errorf("%d recipients are found by their domain", len(got))
		}
		later = false
	})
	w.run(24 * time.Hour)
	if len(w.ended) != 2 {
		t.Errorf("%d of 2 have gone", len(w.ended))
	}
}
