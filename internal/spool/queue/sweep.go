package queue

import (
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// sweeper goes through all entries once a minute, for those that have waited
// so long that their sender is to be told, or that they are given up.
type sweeper struct {
	at   int64 // when it goes on; 0 if there is nothing to go through
	from int   // the next slot
	out  int   // tasks that it gave and that are not settled
}

// wake has it go on if it rests.
func (w *sweeper) wake(now int64) {
	if w.at == 0 {
		w.at = now + int64(sweepPause)
	}
}

// settled takes back a task.
func (w *sweeper) settled(now int64, falls []fall) {
	w.out--
	for _, f := range falls {
		if !f.warned && !f.state.Ended() && w.at != 0 {
			w.at = max(w.at, now+int64(sweepRest))
		}
	}
}

// sweep goes through some entries.
func (m *machine) sweep(now int64, out []*task) []*task {
	w := &m.sweeper
	if w.at == 0 || now < w.at {
		return out
	}
	if m.t.count == 0 {
		w.at, w.from = 0, 0
		return out
	}
	of := map[taskKey]*task{}
	for n := 0; n < sweepSlots && w.from < m.t.used; n++ {
		s := slot(w.from)
		if k, ok := m.overdue(now, s); ok {
			k := taskKey{k, journal.LSN(m.t.at(s).lsn)}
			if w.out >= sweepTasks && !of[k].room() {
				w.at = now + int64(sweepWait)
				return out
			}
			out = m.gather(now, of, k, s, out)
		}
		w.from++
	}
	w.at = now + int64(sweepNext)
	if w.from >= m.t.used {
		w.at, w.from = now+int64(sweepPause), 0
	}
	return out
}

type taskKey struct {
	kind kind
	lsn  journal.LSN
}

// gather adds an entry to the task of its message, so that a sender gets one
// report of it.
func (m *machine) gather(now int64, of map[taskKey]*task, k taskKey, s slot, out []*task) []*task {
	t := of[k]
	if !t.room() {
		t = &task{kind: k.kind, lsn: k.lsn, began: now}
		of[k] = t
		out = append(out, t)
		m.sweeper.out++
	}
	m.take(t, s)
	m.look(now, m.t.at(s).dest)
	return out
}

// room tells whether there is such a task, and one recipient more fits in.
func (t *task) room() bool { return t != nil && len(t.slots) < reportMax }

// overdue tells what is to be done about an entry for its age alone. What an
// operator holds, or an account that is held, waits without an end.
func (m *machine) overdue(now int64, s slot) (kind, bool) {
	e := m.t.at(s)
	if e.place == free || e.place == busy || e.state == fate.Held || e.flags&flagAccount != 0 {
		return 0, false
	}
	switch {
	case m.old(now, e) && e.state == fate.Queued && now-nanos(e.due) < int64(untriedGrace):
		return 0, false // it is to be tried first
	case m.old(now, e) && now < m.grace:
		return 0, false
	case m.old(now, e):
		return expire, true
	case m.o.Warn > 0 && now-nanos(e.received) >= int64(m.o.Warn) && e.flags&flagWarned == 0:
		return warn, true
	}
	return 0, false
}

// old tells whether an entry is of an age at which it is given up.
func (m *machine) old(now int64, e *entry) bool {
	return now-nanos(e.received) >= int64(m.o.Expire)
}
