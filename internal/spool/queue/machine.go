package queue

import (
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// machine decides what is tried when, without I/O. It is not safe for
// concurrent use. Its times are nanoseconds since 1970; given the same seed
// and calls it does the same.
//
// What it wants done it gives out as tasks. The entries of a task are busy and
// its destination's place is taken until the task is settled.
type machine struct {
	o    Options
	seed uint64

	t      table
	dests  []*destination // by id; [0] is none
	spare  []uint32       // ids that are free
	byName map[string]uint32
	ring   []uint32 // destinations that may go, or might, in turn
	timers timers

	last    int64 // when it last took a step
	grace   int64 // nothing is given up for its age before
	longest int64 // that anything may wait for its time
	resume  int   // the step at which what was tried in an earlier run goes on, at most

	active int // attempts under way, of all destinations
	most   int // of active; less than Workers while results cannot be made durable

	// Those that are down.
	downLast uint32
	downs    int
	upAt     int64 // when any destination last answered
	kinAt    int64 // no kin before
	scoutAt  int64 // 0: nothing is down

	owners   []account.ID // by the place that entries have; [0] is nobody
	byOwner  map[account.ID]uint32
	accounts map[account.ID]string // held accounts, with the reason
	sweeper  sweeper
	rate     pace // of all
}

func newMachine(o Options, seed uint64) *machine {
	m := &machine{
		o: o, seed: seed, most: o.Workers, dests: []*destination{nil}, byName: map[string]uint32{},
		timers: timers{ids: []uint32{0}}, accounts: map[account.ID]string{},
		owners: []account.ID{0}, byOwner: map[account.ID]uint32{0: 0},
	}
	longest := slices.Max(append([]time.Duration{retryAfterMax, o.BackoffMax}, o.Schedule...))
	m.longest = int64(longest + longest/8)
	for m.resume < min(len(o.Schedule)-1, 255) && o.Schedule[m.resume+1] <= resumeMax {
		m.resume++
	}
	return m
}

// random gives 64 random bits (splitmix64).
func (m *machine) random() uint64 {
	m.seed += 0x9e3779b97f4a7c15
	return mix(m.seed)
}

// jitter makes a duration up to an eighth longer, so that what happened together
// is not tried together for ever; and never shorter: a host that greylists for
// five minutes means them.
func (m *machine) jitter(d time.Duration) int64 {
	return int64(d) + int64(m.random()%(uint64(d)/8+1))
}

// seconds is the first whole second that is not before ns.
func seconds(ns int64) uint32 {
	return uint32(min(max(0, (ns+int64(time.Second)-1)/int64(time.Second)), 1<<32-1))
}

func secondsOf(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return seconds(t.UnixNano())
}

func nanos(s uint32) int64 { return int64(s) * int64(time.Second) }

// add takes in an open recipient. One that is known already is left as it is.
func (m *machine) add(now int64, o fate.Open, name, hold string) {
	lsn, rcpt := uint64(o.LSN), uint32(o.Rcpt)
	if o.State.Ended() || m.t.find(lsn, rcpt) != 0 {
		return
	}
	s := m.t.add(lsn, rcpt)
	e := m.t.at(s)
	e.account = m.owner(o.Account)
	e.dest, e.domain = m.destination(name), m.destination(string(o.Domain))
	m.dests[e.domain].addressed++
	// The clock may have been ahead.
	e.due, e.received = min(secondsOf(o.Due), seconds(now+m.longest)), min(secondsOf(o.Received), seconds(now))
	e.step = uint8(min(max(o.Attempts, 0), m.resume))
	e.state = o.State
	if o.Warned {
		e.flags |= flagWarned
	}
	if hold != "" {
		e.flags |= flagRoute
	}
	if _, ok := m.accounts[o.Account]; ok {
		e.flags |= flagAccount
	}
	e.place = busy
	m.dests[e.dest].busy++
	m.lay(now, s)
	m.look(now, e.domain) // which may have been about to be forgotten
	m.sweeper.wake(now)
}

// ended forgets a recipient that ended elsewhere.
func (m *machine) ended(now int64, lsn journal.LSN, rcpt int) {
	s := m.t.find(uint64(lsn), uint32(rcpt))
	switch {
	case s == 0:
	case m.t.at(s).place == busy:
		m.t.at(s).flags |= flagGone
	default:
		m.lift(s)
		m.forget(now, s)
	}
}

// destination gives the id of a destination, which is made if need be.
func (m *machine) destination(name string) uint32 {
	if id, ok := m.byName[name]; ok {
		return id
	}
	top := min(m.o.PerDestination, m.o.Workers, 1<<16-1)
	name = strings.Clone(name) // it may be part of something larger
	d := &destination{name: name, top: uint16(top), limit: uint16(min(top, startLimit))}
	id := uint32(len(m.dests))
	if n := len(m.spare); n > 0 {
		id, m.spare = m.spare[n-1], m.spare[:n-1]
		m.dests[id] = d
	} else {
		m.dests = append(m.dests, d)
	}
	m.byName[name] = id
	return id
}

// owner gives the place of an account. Accounts keep their places: there are
// not many.
func (m *machine) owner(id account.ID) uint32 {
	at, ok := m.byOwner[id]
	if !ok {
		at = uint32(len(m.owners))
		m.owners, m.byOwner[id] = append(m.owners, id), at
	}
	return at
}

// counter is where an entry counts.
func (m *machine) counter(e *entry) *uint32 {
	d := m.dests[e.dest]
	switch {
	case e.place == busy:
		return &d.busy
	case e.place == held:
		return &d.held
	case e.state == fate.Deferred:
		return &d.deferred
	}
	return &d.queued
}

// lift makes an entry busy, wherever it is.
func (m *machine) lift(s slot) {
	e := m.t.at(s)
	d := m.dests[e.dest]
	*m.counter(e)--
	d.busy++
	switch e.place {
	case ready:
		d.ready = m.t.pluck(d.ready, s)
	case waiting:
		d.waiting = m.t.pluck(d.waiting, s)
	case parked:
		d.parked = m.t.pluck(d.parked, s)
	}
	e.place = busy
}

// lay puts a busy entry where it belongs.
func (m *machine) lay(now int64, s slot) {
	e := m.t.at(s)
	d := m.dests[e.dest]
	d.busy--
	if e.flags&flagParked != 0 && !d.down {
		e.flags &^= flagParked
		e.due = min(e.due, seconds(now)) // what it waited for has happened
	}
	switch {
	case e.state == fate.Held || e.flags&(flagAccount|flagRoute) != 0:
		e.place = held
	case e.flags&flagParked != 0:
		d.parked = m.t.push(parked, d.parked, s)
	case nanos(e.due) <= now:
		d.ready = m.t.push(ready, d.ready, s)
	default:
		d.waiting = m.t.push(waiting, d.waiting, s)
	}
	*m.counter(e)++
	m.look(now, e.dest)
}

// forget drops a busy entry.
func (m *machine) forget(now int64, s slot) {
	e := m.t.at(s)
	dest, domain := e.dest, e.domain
	m.dests[dest].busy--
	m.dests[domain].addressed--
	m.t.remove(s)
	m.look(now, dest)
	if domain != dest {
		m.look(now, domain)
	}
}

// look sees what is to be done about a destination next: whether it may go,
// and if not, when it is to be looked at again.
func (m *machine) look(now int64, id uint32) {
	d := m.dests[id]
	if !d.inRing && d.mayGo(now) {
		d.inRing = true
		m.ring = append(m.ring, id)
	}
	d.emptyAt = emptySince(d, now)
	at := int64(0)
	soonest := func(t int64) {
		if at == 0 || t < at {
			at = t
		}
	}
	if d.waiting != 0 {
		soonest(nanos(m.t.at(d.waiting).due))
	}
	if d.until > now && d.untried() {
		soonest(d.until)
	}
	if d.emptyAt != 0 {
		soonest(d.emptyAt + int64(idleKeep))
	}
	m.timers.set(m.dests, id, at)
}

func emptySince(d *destination, now int64) int64 {
	switch {
	case d.entries() > 0 || d.addressed > 0 || d.jobs > 0:
		return 0
	case d.emptyAt != 0:
		return d.emptyAt
	}
	return now
}

// wake is when step is to be called next; 0 if only an event can matter.
func (m *machine) wake() int64 {
	at := int64(0)
	sweep := m.sweeper.at
	if m.stalled() {
		sweep = 0
	}
	for _, t := range []int64{m.timers.first(m.dests), sweep, m.scoutAt} {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// step gives what is to be begun now.
func (m *machine) step(now int64) []*task {
	if m.last-now > int64(clockSlack) {
		m.turnBack(now, m.last-now)
	}
	if now-m.last > int64(absence) {
		m.grace = now + int64(absenceGrace)
	}
	m.last = now
	for {
		id := m.timers.due(m.dests, now)
		if id == 0 {
			break
		}
		m.fire(now, id)
	}
	if m.scoutAt != 0 && m.scoutAt <= now {
		m.scout(now)
	}
	var out []*task
	if !m.stalled() {
		out = m.sweep(now, out)
	}
	out = m.dispatch(now, out)
	for _, t := range out {
		m.name(t)
	}
	return out
}

// allowance is how much may begin.
type allowance uint8

const (
	everything allowance = iota
	oneMore
	nothingNew
)

// allow sets it, and tells whether more may begin than before.
func (m *machine) allow(a allowance) bool {
	before := m.most
	switch a {
	case everything:
		m.most = m.o.Workers
	case oneMore:
		m.most = min(m.active+1, m.o.Workers)
	case nothingNew:
		m.most = 0
	}
	return m.most > before
}

func (m *machine) stalled() bool { return m.most < m.o.Workers }

// fire does what a destination's timer was set for.
func (m *machine) fire(now int64, id uint32) {
	d := m.dests[id]
	for d.waiting != 0 && nanos(m.t.at(d.waiting).due) <= now {
		s := d.waiting
		d.waiting = m.t.pluck(d.waiting, s)
		d.ready = m.t.push(ready, d.ready, s)
	}
	if d.emptyAt != 0 && d.emptyAt+int64(idleKeep) <= now {
		if !d.inRing {
			m.drop(id)
			return
		}
		d.emptyAt = now // the ring still names it: not yet
	}
	m.look(now, id)
}

// drop forgets a destination that nothing was for in a long time.
func (m *machine) drop(id uint32) {
	d := m.dests[id]
	if d.down {
		m.unlist(id)
	}
	m.timers.set(m.dests, id, 0)
	delete(m.byName, d.name)
	m.dests[id] = nil
	m.spare = append(m.spare, id)
}

// dispatch begins attempts: one for each destination in turn, until none may
// go or there are as many as there may be.
func (m *machine) dispatch(now int64, out []*task) []*task {
	for passed := 0; passed < len(m.ring) && m.active < m.most; {
		id := m.ring[0]
		m.ring = m.ring[1:]
		d := m.dests[id]
		if !d.mayGo(now) {
			d.inRing = false
			m.look(now, id)
			continue
		}
		if !m.fair(d) {
			m.ring = append(m.ring, id)
			passed++
			continue
		}
		d.inRing = false
		out = append(out, m.begin(now, id))
		m.look(now, id)
		passed = 0
	}
	return out
}

// fair tells whether a destination that has attempts under way may have
// another: only while that leaves four times as many free for others. Those
// that take long get less the more of them there are, and one that has none
// always gets one as long as there is any.
func (m *machine) fair(d *destination) bool {
	return d.jobs == 0 || 4*int(d.jobs) < m.o.Workers-m.active
}
