package queue

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// fill gives a machine n open recipients, of messages with two each, that go by
// a next hop if one is given.
func fill(m *machine, n, domains int, hop string, now int64) {
	names := make([]string, domains)
	for i := range names {
		names[i] = fmt.Sprintf("mail%06d.example.org", i)
	}
	for i := range n {
		d := names[i*7919%domains]
		o := fate.Open{
			LSN: journal.LSN(1<<40 + i/2*1000), Rcpt: i % 2, State: fate.Queued, Received: timeOf(now - int64(n-i)*1e6),
			Account: account.ID(i % 1000), Domain: message.Domain(d),
		}
		if i%3 == 0 {
			o.State, o.Due, o.Attempts = fate.Deferred, timeOf(now+int64(i%3600)*1e9), 3
		}
		to := hop
		if to == "" {
			to = d
		}
		m.add(now, o, to, "")
	}
}

// TestMemory_givenBack: a queue that was long and is empty takes no memory.
func TestMemory_givenBack(t *testing.T) {
	m := testMachine(nil)
	before, now := heapBytes(), start().UnixNano()
	fill(m, 100_000, 1, "", now)
	for s := 1; m.t.count > 0; s++ {
		m.lift(slot(s))
		m.forget(now, slot(s))
	}
	if left := int64(heapBytes()) - int64(before); left > 1<<20 {
		t.Errorf("%d octets are left", left)
	}
	m.verify(t, now)
	fill(m, 10, 1, "", now)
	m.verify(t, now)
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestMemory_million holds a million open recipients in less than 200 MB, at
// less than 100 octets each where they have few destinations.
func TestMemory_million(t *testing.T) {
	const n = 1_000_000
	for _, c := range []struct {
		domains int
		hop     string // they all go by
		most    uint64 // octets a recipient
	}{{1, "", 60}, {10_000, "smtp://relay.test:25", 65}, {200_000, "", 120}} {
		t.Run(fmt.Sprintf("%d domains, hop %q", c.domains, c.hop), func(t *testing.T) {
			before := heapBytes()
			m := testMachine(nil)
			now := start().UnixNano()
			began := time.Now()
			fill(m, n, c.domains, c.hop, now)
			loaded := time.Since(began)
			first := m.step(now)
			stepped := time.Since(began) - loaded
			each := (heapBytes() - before) / n
			t.Logf("%d octets a recipient, %d MB; loaded in %v, first %d attempts after %v more", each, each*n>>20, loaded, len(first), stepped)
			if each > c.most {
				t.Errorf("%d octets a recipient, want at most %d", each, c.most)
			}
			if m.t.count != n || len(first) == 0 {
				t.Errorf("%d recipients, %d attempts", m.t.count, len(first))
			}
		})
	}
}

// BenchmarkAttempt is the machine's part of one attempt: beginning it, hearing
// of its end, settling it; with a hundred thousand others waiting.
func BenchmarkAttempt(b *testing.B) {
	for _, domains := range []int{1, 1000, 50_000} {
		b.Run(fmt.Sprintf("%d destinations", domains), func(b *testing.B) {
			m := testMachine(func(o *Options) { o.PerDestination = 20 })
			now := start().UnixNano()
			fill(m, 100_000, domains, "", now)
			lsn := journal.LSN(1 << 50)
			for b.Loop() {
				now += 1e5
				for _, t := range m.step(now) {
					m.heard(now, t, Up, "")
					m.settle(now, t, relayedAll(t))
					for range t.slots {
						lsn++
						m.add(now, fate.Open{LSN: lsn, State: fate.Queued, Received: timeOf(now)}, t.name, "")
					}
				}
			}
		})
	}
}

func relayedAll(t *task) []fall {
	falls := make([]fall, len(t.slots))
	for i := range falls {
		falls[i] = fall{state: fate.Relayed}
	}
	return falls
}

// BenchmarkLoad reads a million recipients.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		fill(testMachine(nil), 1_000_000, 200_000, "", start().UnixNano())
	}
}

// BenchmarkBacklog looks at a million recipients.
func BenchmarkBacklog(b *testing.B) {
	m := testMachine(nil)
	fill(m, 1_000_000, 200_000, "", start().UnixNano())
	for b.Loop() {
		m.backlog(start().UnixNano(), linesMax)
	}
}

// BenchmarkBack is a destination that is back after an outage for which a
// million recipients waited.
func BenchmarkBack(b *testing.B) {
	now := start().UnixNano()
	for b.Loop() {
		b.StopTimer()
		m := testMachine(nil)
		fill(m, 1_000_000, 1, "", now)
		now += int64(2 * time.Hour)
		tasks := m.step(now)
		m.heard(now, tasks[0], Down, "")
		m.t.each(0, m.t.used, func(s slot, e *entry) {
			if e.place != busy {
				m.lift(s)
				e.flags |= flagParked
				m.lay(now, s)
			}
		})
		b.StartTimer()
		m.answered(now, tasks[0].dest)
		m.step(now)
	}
}
