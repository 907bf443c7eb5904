package queue

import (
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// What operators do to the machine.

// ref names an entry beyond the lock.
type ref struct {
	lsn  journal.LSN
	rcpt int
}

// matcher is a Selection as far as the machine knows of it.
type matcher struct {
	lsn     journal.LSN // 0 is any
	dest    uint32      // or domain; 0 is any
	none    bool        // nothing can match
	account uint32      // 0 is any
	state   fate.State
}

func (m *machine) matcher(s Selection, lsn journal.LSN) matcher {
	w := matcher{lsn: lsn, state: s.State}
	known := true
	if s.Destination != "" {
		w.dest, known = m.byName[s.Destination]
	}
	if s.Account != 0 && known {
		w.account, known = m.byOwner[s.Account]
	}
	w.none = !known
	return w
}

func (w matcher) matches(e *entry) bool {
	switch {
	case w.none, w.lsn != 0 && uint64(w.lsn) != e.lsn, w.dest != 0 && w.dest != e.dest && w.dest != e.domain,
		w.account != 0 && w.account != e.account:
		return false
	}
	return w.state == 0 || w.state == e.shown()
}

// shown is an entry's state as people are told it.
func (e *entry) shown() fate.State {
	if e.state == fate.Held || e.flags&(flagAccount|flagRoute) != 0 {
		return fate.Held
	}
	return e.state
}

// find adds the entries of some slots that match.
func (m *machine) find(w matcher, from, upto int, out []ref) []ref {
	if w.none {
		return out
	}
	m.t.each(from, upto, func(_ slot, e *entry) {
		if w.matches(e) {
			out = append(out, ref{journal.LSN(e.lsn), int(e.rcpt)})
		}
	})
	return out
}

// grasp makes one task of what can be changed now of some entries of one
// message; nil if there is nothing.
func (m *machine) grasp(now int64, refs []ref, fit func(*entry) bool) *task {
	t := &task{kind: order, lsn: refs[0].lsn, began: now}
	for _, r := range refs {
		s := m.t.find(uint64(r.lsn), uint32(r.rcpt))
		if s == 0 || m.t.at(s).place == busy || !fit(m.t.at(s)) {
			continue
		}
		m.take(t, s)
		m.look(now, m.t.at(s).dest)
	}
	if len(t.slots) == 0 {
		return nil
	}
	m.name(t)
	return t
}

// redirect moves a busy entry to another destination.
func (m *machine) redirect(now int64, s slot, name, hold string) {
	e := m.t.at(s)
	from, to := e.dest, m.destination(name)
	m.dests[from].busy--
	e.dest = to
	m.dests[to].busy++
	e.flags &^= flagRoute
	if hold != "" {
		e.flags |= flagRoute
	}
	m.look(now, from)
}

// hurry has a destination tried at once, whatever it was like.
func (m *machine) hurry(now int64, id uint32) {
	if d := m.dests[id]; d.until > now {
		d.until = now
		m.look(now, id)
	}
}

func (m *machine) holdAccount(now int64, id account.ID, why string) {
	m.accounts[id] = why
	m.relay(now, id, func(e *entry) { e.flags |= flagAccount })
}

func (m *machine) releaseAccount(now int64, id account.ID) {
	delete(m.accounts, id)
	m.relay(now, id, func(e *entry) {
		e.flags &^= flagAccount
		if e.state == fate.Deferred && m.old(now, e) {
			e.state, e.due = fate.Queued, seconds(now) // it is tried before it is given up
		}
	})
}

// relay changes all entries of an account, and puts those that are not busy
// where they belong then.
func (m *machine) relay(now int64, id account.ID, change func(*entry)) {
	owner := m.owner(id)
	m.t.each(0, m.t.used, func(s slot, e *entry) {
		if e.account != owner {
			return
		}
		if e.place == busy {
			change(e)
			return
		}
		m.lift(s)
		change(e)
		m.lay(now, s)
	})
}
