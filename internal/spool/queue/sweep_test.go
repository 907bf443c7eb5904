package queue

import (
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// TestSweep_many: when a large destination has been away for hours, all of its
// senders hear of it soon, each once for a message, and never more than so many
// reports are made at a time.
func TestSweep_many(t *testing.T) {
	const messages, each = 10_000, 3
	m := testMachine(nil)
	now := start().UnixNano()
	for lsn := range journal.LSN(messages) {
		for rcpt := range each {
			m.add(now, fate.Open{LSN: 1 + lsn, Rcpt: rcpt, State: fate.Deferred, Received: start().Add(-5 * time.Hour),
				Domain: message.Domain("d.test"), Due: start().Add(time.Hour)}, "d.test", "")
		}
	}
	warned := 0
	for warned < messages {
		now = m.wake()
		if now > start().Add(2*time.Minute).UnixNano() {
			t.Fatalf("%d of %d are warned of after two minutes", warned, messages)
		}
		tasks := m.step(now)
		if len(tasks) > sweepTasks {
			t.Fatalf("%d reports at once", len(tasks))
		}
		for _, k := range tasks {
			if k.kind != warn || len(k.slots) != each {
				t.Fatalf("a task %+v", k)
			}
			falls := make([]fall, len(k.slots))
			for i, s := range k.slots {
				falls[i] = m.asItWas(s)
				falls[i].warned = true
			}
			m.settle(now, k, falls)
			warned++
		}
	}
	if took := time.Duration(now - start().UnixNano()); took < 15*time.Second {
		t.Errorf("all within %v: attempts have to have their turn", took)
	}
}

// TestSweep_inVain: what cannot be told now is not tried all the time.
func TestSweep_inVain(t *testing.T) {
	const messages = 1000
	m := testMachine(nil)
	now := start().UnixNano()
	for lsn := range journal.LSN(messages) {
		m.add(now, fate.Open{LSN: 1 + lsn, State: fate.Deferred, Received: start().Add(-5 * time.Hour),
			Domain: message.Domain("d.test"), Due: start().Add(time.Hour)}, "d.test", "")
	}
	failed := 0
	for now = m.wake(); now < start().Add(sweepPause+10*time.Second).UnixNano(); now = m.wake() {
		for _, k := range m.step(now) {
			failed++
			m.settle(now, k, m.later(now, k, 0))
		}
	}
	if failed < sweepTasks || failed > 11*sweepTasks {
		t.Errorf("%d reports were tried in ten seconds", failed)
	}
}
