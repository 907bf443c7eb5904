package fate_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// What was accepted a moment ago is loaded as the tables have it.
func TestStore_loadRecent(t *testing.T) {
	w := newWorld(t, 0)
	var ms []*fate.Message
	for i := range 4 {
		m := w.message(fmt.Sprint("M", i), 3)
		m.Recipients[1].State = fate.Delivered
		m.Recipients[1].Last = fate.Event{At: m.Received, State: fate.Delivered, Via: "INBOX of r1@example.org"}
		m.Recipients[2].State, m.Recipients[2].Due, m.Recipients[2].Route = fate.Held, m.Received, "smtp://relay.example.org:25"
		must(t, w.deliver(m, nil))
		ms = append(ms, m)
	}
	change := func(m *fate.Message) fate.Change {
		return fate.Change{LSN: m.LSN, Rcpt: []int{0}, Attempt: true, Event: fate.Event{State: fate.Relayed, Reply: "250 taken"}}
	}
	must(t, w.s.Commit(background, change(ms[1])))
	must(t, w.deliver(w.message("D", 1), nil, change(ms[2]))) // a report, which is accepted itself
	before := make([]*fate.Message, len(ms))
	for i, m := range ms {
		before[i] = w.load(t, m.LSN)
	}
	must(t, w.restart(false))
	for i, m := range ms {
		if after := w.load(t, m.LSN); !reflect.DeepEqual(before[i], after) {
			t.Errorf("message %d was loaded as\n%+v\nand the tables have\n%+v", i, before[i], after)
		}
		if got, want := before[i].Recipients[0].State == fate.Relayed, i == 1 || i == 2; got != want {
			t.Errorf("message %d is relayed: %v", i, got)
		}
	}
}
