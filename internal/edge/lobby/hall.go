package lobby

import (
	"net/netip"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// shell is what a hall does to connections; fd is the shell's name for one.
// None of it calls the hall.
type shell interface {
	// write sends octets and returns how many were taken, -1 if the connection
	// is broken. After fewer than all the shell calls hall.writable.
	write(fd int32, slot, gen uint32, b []byte) int
	// shutdown says that nothing more will be written.
	shutdown(fd int32)
	// close ends the connection.
	close(fd int32)
	// pass takes the connection away and hands it over once rest is written;
	// nothing was done if it reports false.
	pass(fd int32, rest []byte, o Handover) bool
	// answer brings a score to hall.scored, at any time but now.
	answer(slot, gen uint32, s dnsbl.Score)
}

// answer is a score on its way to its guest.
type answer struct {
	slot, gen uint32
	score     dnsbl.Score
}

// lister and welcomer are what a Gate may say of scores; see Options.ListedAt.
// A guest that is welcome does not wait for its banner any longer.
type (
	lister   interface{ Listed(s dnsbl.Score) bool }
	welcomer interface{ Welcome(s dnsbl.Score) bool }
	loader   interface{ SetLoad(guests, budget float64) }
)

// hall is the machine: guests, and what becomes of them. It does no I/O.
type hall struct {
	mu       sync.Mutex // held by whoever calls anything here
	o        *Options
	pool     *pool
	gate     Gate
	listed   func(dnsbl.Score) bool
	welcome  func(dnsbl.Score) bool
	sh       shell
	ids      *listen.IDs
	machines [3]*smtp.Machine // indices are those below
	lead     bool             // tells the Gate the load
	stopped  bool

	now     int64 // of the event at hand, Unix nanoseconds
	slabs   []*[slabGuests]guest
	free    uint32 // slots, a list through guest.timer.next
	count   int
	gen     uint32
	ranks   [rankCount]link // next is the first, prev the last
	ranked  [rankCount]int
	stages  [stageCount]int
	wheel   wheel
	owed    map[uint32]*backlog
	rulings map[rulingKey]*ruling
	ready   []uint32 // slots that may be read from again
	level   policy.Level
	asked   int64 // when the Gate was asked for the level

	out     []byte // replies of the event at hand
	scratch []byte
	talk    conversation // of the guest that is heard; others that leave meanwhile have their own
	pg      policy.Guest
	tally   tally
	seen    struct { // by the metrics
		stages          [stageCount]int
		ranked          [rankCount]int
		arrived, octets uint64
	}
}

// The machines that a guest may be served by.
const (
	machinePlain = iota // no STARTTLS
	machineTLS
	machineLater // STARTTLS is answered 454
)

// tally counts since the hall began.
type tally struct {
	arrived, admitted, barred, turned, passed, refused, deferred, evicted, early, octets, cpu uint64
	endings                                                                                   [endingCount]uint64
}

const (
	// scoreWaitMs is how much longer than the wait before the banner the score
	// is waited for, in milliseconds: the checker answers within 2 seconds, so
	// this is for one that does not.
	scoreWaitMs = 5_000
	// flushWaitMs is how long the last reply may take to be taken.
	flushWaitMs = 10_000
	// lingerWaitMs is how long a client that was told to go is read from: a
	// socket closed with unread octets is reset, and the reply may be lost.
	lingerWaitMs = 2_000
	// levelWait is how often the Gate is asked for the level.
	levelWait = 250 * time.Millisecond
	// guestOctetsMax is how much a guest may send, in octets: a refused one
	// that goes on with its message by BDAT has had its answer long before.
	guestOctetsMax = 4 << 20
)

func (h *hall) setMachine(mo smtp.Options) {
	for i := range h.machines {
		mo.TLS, mo.TLSLater = h.o.TLS && i != machinePlain, i == machineLater
		h.machines[i] = smtp.NewMachine(mo)
	}
}

func newHall(o *Options, p *pool, gate Gate, ids *listen.IDs) *hall {
	h := &hall{o: o, pool: p, gate: gate, ids: ids, owed: map[uint32]*backlog{}, rulings: map[rulingKey]*ruling{}}
	h.setMachine(o.Machine)
	h.listed = func(s dnsbl.Score) bool { return int(s.Weight) >= o.ListedAt }
	if l, ok := gate.(lister); ok {
		h.listed = l.Listed
	}
	h.welcome = func(dnsbl.Score) bool { return false }
	if w, ok := gate.(welcomer); ok {
		h.welcome = w.Welcome
	}
	return h
}

// begin sets the time of the first event.
func (h *hall) begin(now time.Time) {
	h.now = now.UnixNano()
	h.wheel.at = h.now / tickNanos
	h.level = h.gate.Level()
}

const tickNanos = wheelTickMs * int64(time.Millisecond)

// setTime sets the time of the events that follow.
func (h *hall) setTime(now time.Time) { h.now = max(h.now, now.UnixNano()) }

// arrive receives a connection. slot is 0 if it is no guest.
func (h *hall) arrive(fd int32, remote netip.AddrPort) (slot, gen uint32) {
	h.tally.arrived++
	remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
	if !h.fromProxy(remote.Addr()) {
		return h.enter(0, fd, remote)
	}
	if !h.room() {
		h.turnAway(fd)
		return 0, 0
	}
	slot, g := h.seat(fd, remote)
	h.setStage(slot, g, stageProxy)
	h.schedule(slot, g)
	return slot, g.gen
}

func (h *hall) fromProxy(a netip.Addr) bool {
	for _, p := range h.o.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// enter asks the Gate about a client whose address is known: that of a new
// connection, or, with a slot, of one that a proxy has named.
func (h *hall) enter(slot uint32, fd int32, remote netip.AddrPort) (uint32, uint32) {
	now := time.Unix(0, h.now)
	e := h.gate.Arrive(remote.Addr(), now)
	switch e.Kind {
	case policy.EntryAdmit:
		h.admit(slot, fd, remote, e.Known)
		return 0, 0
	case policy.EntryRefuse:
		h.bar(slot, fd, e.Reply)
		return 0, 0
	}
	var g *guest
	switch {
	case slot != 0:
		g = h.at(slot)
		g.addr, g.port = remote.Addr().As16(), remote.Port()
	case h.room():
		slot, g = h.seat(fd, remote)
	default:
		h.turnAway(fd)
		h.gate.Left(&policy.Guest{
			ID: listen.FormatID(h.ids.Next()), Addr: remote.Addr(), Arrived: now, Now: now, Known: e.Known, Ended: policy.EndedEvicted,
		})
		return 0, 0
	}
	g.flags |= flagEntered
	if e.Known {
		g.flags |= flagKnown
	}
	h.setStage(slot, g, stageWait)
	g.waits = g.since + uint32(e.Wait/time.Millisecond)
	gen := g.gen
	s, ready := h.gate.Score(remote.Addr(), func(s dnsbl.Score) { h.sh.answer(slot, gen, s) })
	if ready {
		h.scored(slot, gen, s)
	}
	if g = h.live(slot, gen); g == nil {
		return 0, 0
	}
	h.schedule(slot, g)
	return slot, gen
}

// seat makes a guest of a connection, whose place is paid.
func (h *hall) seat(fd int32, remote netip.AddrPort) (uint32, *guest) {
	slot, g := h.takeSlot()
	g.arrived, g.id, g.fd = h.now, h.ids.Next(), fd
	g.addr, g.port = remote.Addr().As16(), remote.Port()
	h.enrank(slot, g, rankUnscored)
	return slot, g
}

// room takes a place for a newcomer; the worst leaves if it must.
func (h *hall) room() bool {
	for !h.pool.enter() {
		if !h.evict(0, rankUnscored) {
			return false
		}
	}
	return true
}

// pay takes octets of the budget for a guest; the worst leaves if it must. It
// reports false if that is the guest itself.
func (h *hall) pay(slot uint32, n int64) bool {
	for !take(&h.pool.price, n, h.pool.budget) {
		if !h.evict(slot, h.at(slot).rank) {
			return false
		}
	}
	return true
}

// evict lets the oldest of the worst leave. It reports false if nobody is as
// bad as rank r, or if it would be except.
func (h *hall) evict(except uint32, r rank) bool {
	for w := range min(r, rankUnscored) + 1 {
		slot := h.ranks[w].next
		if slot == 0 {
			continue
		}
		if slot == except {
			return false
		}
		g := h.at(slot)
		if w != rankLeaving && h.owed[slot] == nil {
			h.sh.write(g.fd, slot, g.gen, []byte(replyFull)) // whoever does not take it goes without
		}
		h.end(slot, g, endEvicted, nil)
		return true
	}
	return false
}

const replyFull = "421 4.7.0 Too many connections, try again later\r\n"

// turnAway refuses a connection for which there is no place.
func (h *hall) turnAway(fd int32) {
	h.tally.turned++
	h.o.Metrics.turned.Inc()
	h.sh.write(fd, 0, 0, []byte(replyFull))
	h.sh.close(fd)
}

// bar refuses a connection that the Gate does not let in.
func (h *hall) bar(slot uint32, fd int32, reply *smtp.Reply) {
	h.tally.barred++
	h.o.Metrics.barred.Inc()
	if reply != nil {
		h.sh.write(fd, 0, 0, reply.AppendTo(nil))
	}
	if slot == 0 {
		h.sh.close(fd)
		return
	}
	h.end(slot, h.at(slot), endClosed, nil)
}

// admit hands a connection over before anything was said.
func (h *hall) admit(slot uint32, fd int32, remote netip.AddrPort, known bool) {
	h.tally.admitted++
	h.o.Metrics.admitted.Inc()
	now := time.Unix(0, h.now)
	o := Handover{ID: listen.FormatID(h.ids.Next()), Remote: remote, Fresh: true}
	o.Guest = policy.Guest{ID: o.ID, Addr: remote.Addr(), Arrived: now, Now: now, Known: known}
	o.Ended = h.pool.passed(false)
	if !h.pass(slot, fd, nil, o) {
		o.Ended()
		h.sh.close(fd)
	}
	if slot != 0 {
		h.remove(slot, h.at(slot))
	}
}

// pass hands a connection over. If that needs what the worst guest holds, that
// one leaves.
func (h *hall) pass(slot uint32, fd int32, rest []byte, o Handover) bool {
	for !h.sh.pass(fd, rest, o) {
		if !h.evict(slot, rankUnscored) {
			return false
		}
	}
	return true
}

// scored brings the score of a guest.
func (h *hall) scored(slot, gen uint32, s dnsbl.Score) {
	g := h.live(slot, gen)
	if g == nil || g.flags&flagEntered == 0 || g.flags&flagScored != 0 {
		return
	}
	g.flags |= flagScored
	g.weight, g.hits, g.silent, g.asked = s.Weight, s.Hits, s.Silent, s.Asked
	if h.listed(s) {
		g.flags |= flagListed
	}
	h.setRank(slot, g, g.judgeRank())
	if g.stage != stageWait {
		return
	}
	now := g.ms(h.now)
	if h.welcome(s) {
		g.waits = min(g.waits, now)
	}
	if now >= g.waits {
		h.banner(slot, g)
		return
	}
	h.schedule(slot, g)
}

// waiting says that octets wait to be read that the hall did not want yet.
func (h *hall) waiting(slot, gen uint32) {
	g := h.live(slot, gen)
	if g == nil {
		return
	}
	g.flags |= flagReadable
	if g.stage == stageWait {
		h.fault(slot, g, policy.EarlyTalk)
	}
}

// fault notes what no mail server does.
func (h *hall) fault(slot uint32, g *guest, f policy.Faults) {
	if f &^= g.faults; f == 0 {
		return
	}
	g.faults |= f
	if f&policy.EarlyTalk != 0 {
		h.tally.early++
	}
	h.o.Metrics.fault(f)
	h.setRank(slot, g, g.judgeRank())
}

// want says how many octets may be read from a guest now.
func (h *hall) want(slot, gen uint32) int {
	g := h.live(slot, gen)
	if g == nil || h.owed[slot] != nil {
		return 0
	}
	switch g.stage {
	case stageProxy:
		return listen.ProxyNeeds(g.state)
	case stageTalk, stageLinger:
		return readMax
	}
	return 0
}

// readMax is how many octets are read from a guest at a time: the replies to
// as many commands are what it can make us hold.
const readMax = 4 << 10

// octets brings what was read, no more than wanted.
func (h *hall) octets(slot, gen uint32, b []byte) {
	g := h.live(slot, gen)
	if g == nil {
		return
	}
	g.octets += int64(len(b))
	h.tally.octets += uint64(len(b))
	switch g.stage {
	case stageProxy:
		h.proxyOctets(slot, g, b)
	case stageTalk:
		h.hear(slot, g, b)
	}
	if g = h.live(slot, gen); g != nil && g.octets > guestOctetsMax {
		h.tooMuch(slot, g)
	}
}

// tooMuch ends the stay of a guest that sends without end.
func (h *hall) tooMuch(slot uint32, g *guest) {
	if g.stage == stageLinger {
		h.end(slot, g, g.ending, nil)
		return
	}
	c := h.open(g)
	h.out = append(h.out[:0], "421 4.7.0 Too much was sent, closing connection\r\n"...)
	h.leave(slot, g, &c, endClosed)
}

// proxyOctets gathers a PROXY header. Nothing beyond it is ever read.
func (h *hall) proxyOctets(slot uint32, g *guest, b []byte) {
	have := len(g.state) + len(b)
	if have > listen.ProxyHeaderMax {
		h.end(slot, g, endClosed, nil)
		return
	}
	if size := sizeClass(have); size > cap(g.state) {
		if !h.pay(slot, int64(size-cap(g.state))) {
			h.end(slot, g, endEvicted, nil)
			return
		}
		g.state = append(make([]byte, 0, size), g.state...)
	}
	g.state = append(g.state, b...)
	header, _, err := listen.ParseProxy(g.state)
	if isShort(err) && listen.ProxyNeeds(g.state)+have <= listen.ProxyHeaderMax {
		return
	}
	if err != nil {
		h.end(slot, g, endClosed, nil)
		return
	}
	h.pool.price.Add(-int64(cap(g.state)))
	g.state = nil
	remote := netip.AddrPortFrom(g.ip(), g.port)
	if header.Source.IsValid() {
		remote = netip.AddrPortFrom(header.Source.Addr().Unmap().WithZone(""), header.Source.Port())
	}
	h.enter(slot, g.fd, remote)
}

// eof says that the client has closed its side, and all it sent was read.
func (h *hall) eof(slot, gen uint32) {
	g := h.live(slot, gen)
	if g == nil {
		return
	}
	how := endLeft
	if g.ending != endNone {
		how = g.ending
	}
	if b := h.owed[slot]; b != nil && b.beat != 0 {
		h.sh.write(g.fd, slot, g.gen, b.buf) // it may still be listening, but not for long
	}
	h.end(slot, g, how, nil)
}

// broken says that the connection is no more.
func (h *hall) broken(slot, gen uint32) {
	g := h.live(slot, gen)
	if g == nil {
		return
	}
	how := endReset
	if g.ending != endNone {
		how = g.ending
	}
	h.end(slot, g, how, nil)
}
