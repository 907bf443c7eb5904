package queue

import (
	"cmp"
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
	ring   ring // destinations that may go, or might
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

// task is something to be done for some recipients of one message.
type task struct {
	kind  kind
	lsn   journal.LSN
	dest  uint32 // of an attempt
	name  string // of dest
	probe bool   // of a destination that is down
	first bool   // it found its destination down, of which nothing was known
	began int64
	slots []slot
	rcpts []int // of slots, ascending
}

type kind uint8

const (
	attempt kind = iota
	warn         // tell the sender of a delay
	expire       // give up
	order        // do what an operator said
)

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
		m.ring.push(id)
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
	for passed := 0; passed < m.ring.len() && m.active < m.most; {
		id := m.ring.pop()
		d := m.dests[id]
		if !d.mayGo(now) {
			d.inRing = false
			m.look(now, id)
			continue
		}
		if !m.fair(d) {
			m.ring.push(id)
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

// begin makes a task of the oldest message of a destination: of all its
// recipients that may be tried, up to jobMax.
func (m *machine) begin(now int64, id uint32) *task {
	d := m.dests[id]
	t := &task{kind: attempt, dest: id, name: d.name, probe: d.down, began: now}
	heap := &d.ready
	if *heap == 0 {
		heap = &d.parked
	}
	t.lsn = journal.LSN(m.t.at(*heap).lsn)
	for *heap != 0 && len(t.slots) < jobMax && m.t.at(*heap).lsn == uint64(t.lsn) {
		m.take(t, *heap)
	}
	d.jobs++
	m.active++
	d.probing = d.probing || d.down
	d.triedAt = now
	return t
}

// take makes an entry part of a task.
func (m *machine) take(t *task, s slot) {
	m.lift(s)
	t.slots = append(t.slots, s)
}

// name puts the entries of a task into the order that a fate.Change has its
// recipients in: neither slots nor due times are in that order.
func (m *machine) name(t *task) {
	slices.SortFunc(t.slots, func(a, b slot) int { return cmp.Compare(m.t.at(a).rcpt, m.t.at(b).rcpt) })
	t.rcpts = make([]int, len(t.slots))
	for i, s := range t.slots {
		t.rcpts[i] = int(m.t.at(s).rcpt)
	}
}

// fall is what became of one entry of a task.
type fall struct {
	state  fate.State // Ended: it is forgotten
	due    int64
	step   bool // it counts in the schedule
	parked bool // it waits for its destination, not for its time
	warned bool
}

// fallOf says what becomes of an entry that was deferred.
func (m *machine) fallOf(now int64, t *task, s slot, h Health, after time.Duration) fall {
	e, d := m.t.at(s), m.dests[t.dest]
	f := fall{state: fate.Deferred, step: after == 0}
	again := t.first && e.flags&flagFirst != 0
	if t.first {
		e.flags |= flagFirst
	}
	switch {
	case h == Down && d.down && !again:
		f.due, f.step, f.parked = d.until, false, true
	case after > 0:
		f.due = now + int64(min(max(after, time.Second), retryAfterMax))
	default:
		delay := m.o.Schedule[min(int(e.step), len(m.o.Schedule)-1)]
		f.due = now + m.jitter(delay)
	}
	return f
}

// settle ends a task: falls are of its entries, in their order.
func (m *machine) settle(now int64, t *task, falls []fall) {
	switch t.kind {
	case attempt:
		d := m.dests[t.dest]
		d.jobs--
		m.active--
		if t.probe {
			d.probing = false
		}
	case warn, expire:
		m.sweeper.out--
	}
	for i, s := range t.slots {
		m.fell(now, s, falls[i])
	}
	if t.kind == attempt {
		m.look(now, t.dest)
	}
}

func (m *machine) fell(now int64, s slot, f fall) {
	e := m.t.at(s)
	if f.state.Ended() || e.flags&flagGone != 0 {
		m.dests[e.dest].rate.add(now, 1)
		m.rate.add(now, 1)
		m.forget(now, s)
		return
	}
	e.state, e.due = f.state, seconds(f.due)
	if f.step && e.step < 255 {
		e.step++
	}
	if f.warned {
		e.flags |= flagWarned
	}
	e.flags &^= flagParked
	if f.parked {
		e.flags |= flagParked
	}
	m.lay(now, s)
}

// asItWas is the fall of an entry to which nothing happened.
func (m *machine) asItWas(s slot) fall {
	e := m.t.at(s)
	return fall{state: e.state, due: nanos(e.due), parked: e.flags&flagParked != 0}
}
