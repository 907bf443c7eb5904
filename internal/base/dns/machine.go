package dns

import (
	"encoding/binary"
	"io"
	"time"
)

const (
	// downMisses is how many tries in a row a server leaves unanswered before
	// the others are asked first.
	downMisses = 5
	// probeGap is how long a server that is down is left alone between two
	// questions that find out whether it is back.
	probeGap = 10 * time.Second
	// refusedGap is how often a refusal by a server's host is acted on: there
	// is one for each packet.
	refusedGap = 50 * time.Millisecond
	// idTriesMax is how many random ids are tried until one is free; with
	// thousands in flight the second nearly always is.
	idTriesMax = 16
	// resendShare of the time of a try is waited before its packet is sent
	// again: during a burst a server's buffer overflows, and who asked has no
	// time for a whole try more.
	resendShare = 4
	// windowMax is how many packets are sent to a server within windowAge that
	// it has not answered: more than that in its buffer, which holds less than
	// 300 if nobody enlarged it, and they are lost.
	windowMax = 128
	windowAge = 10 * time.Millisecond
	// waitersShare is how many callers may wait for each question that may be
	// in flight: a wave asks about the same networks again and again.
	waitersShare = 4
)

const none = int32(-1)

// machine keeps the questions in flight. It does no I/O: what is to be sent
// and who is to be called stands in out after each call.
type machine struct {
	timeout   time.Duration
	tries     int // of each server
	sockets   int // of each server
	max       int // questions in flight
	trusted   uint8
	random    *random
	metrics   *Metrics
	cache     *cache
	servers   []server
	flights   []flight
	free      []int32
	questions map[Question]int32
	ids       map[uint32]int32 // socket<<16 | id
	// Tries in the order in which they end, are sent again, and leave their
	// server's window, which is that in which they began, since all have the
	// same times; and those that wait for room in a window.
	queues  []queue
	waiting int // callers
	socket  int // of the sends that are not taken yet, so that they go in one batch
	closed  bool
	stats   Stats
	out     output
}

// Queues, and places of a flight in them. Each server has two more queues, of
// which a flight is in one at most.
const (
	ends    = iota // of the time of a try
	resends        // of its packet
	window         // of its server
	places
)

// flying is the queue of a server's packets that went out just now.
func flying(server uint8) int { return window + 2*int(server) }

// held is the queue of those that wait until there are fewer.
func held(server uint8) int { return window + 2*int(server) + 1 }

// queue is a list of flights, by their slots.
type queue struct {
	first, last int32
	len         int
}

// link is a flight's place in a queue.
type link struct {
	at         time.Time
	queue      int16 // + 1; 0 if it is in none
	next, prev int32
}

// server is what is known of a name server.
type server struct {
	misses    int // tries in a row without an answer
	down      bool
	probe     time.Time // when a server that is down gets its next question
	refused   time.Time // when its host last refused a packet
	redialled time.Time // when its sockets were last given up
}

// flight is a question in flight, or a free slot.
type flight struct {
	q         Question
	done      func(Answer)
	more      []func(Answer) // others who asked the same
	asked     time.Time
	links     [places]link
	wire      []byte // the query; its memory stays with the slot
	end       int    // of the question section
	gen       uint32 // of the try, so that what comes late is known
	socket    int16  // none of UDP if negative
	id        uint16
	sent      uint8 // tries
	server    uint8
	failed    uint8 // bit i: server i reported a failure
	rcode     RCode // the last failure
	malformed bool  // an answer was
	plain     bool  // without EDNS
	tcp       bool
	busy      bool // the slot is in use
}

// output is what the machine wants done.
type output struct {
	packets []byte // of sends
	sends   []send
	calls   []call
	tcp     []tcpTry
	cancel  []tcpTry // tries over TCP that nobody waits for any more
	redial  uint8    // bit i: open new sockets to server i
}

type send struct {
	socket   int16
	from, to int32 // in packets
}

type call struct {
	done   func(Answer)
	answer Answer
}

// tcpTry names a try over TCP.
type tcpTry struct {
	slot   int32
	gen    uint32
	server uint8
	query  []byte // nil in cancel
}

func (o *output) reset() {
	clear(o.calls)
	clear(o.tcp)
	o.packets, o.sends, o.calls, o.tcp, o.cancel, o.redial = o.packets[:0], o.sends[:0], o.calls[:0], o.tcp[:0], o.cancel[:0], 0
}

func (o *output) empty() bool {
	return len(o.sends)+len(o.calls)+len(o.tcp)+len(o.cancel) == 0 && o.redial == 0
}

func newMachine(o *Options, sockets int, trusted uint8, r io.Reader) *machine {
	m := &machine{
		timeout: o.Timeout, tries: o.Tries, sockets: sockets, max: o.InFlight, trusted: trusted,
		random: &random{r: r}, metrics: o.Metrics, cache: newCache(o.CacheEntries),
		servers: make([]server, len(o.Servers)), questions: make(map[Question]int32), ids: make(map[uint32]int32),
		queues: make([]queue, window+2*len(o.Servers)),
	}
	for i := range m.queues {
		m.queues[i] = queue{first: none, last: none}
	}
	return m
}

// ask takes a question whose name is normal.
func (m *machine) ask(q Question, done func(Answer), now time.Time) {
	m.stats.Asked++
	if m.closed {
		m.call(done, Answer{Question: q, Err: ErrClosed})
		return
	}
	if a, ok := m.cache.get(q, now); ok {
		m.stats.Cached++
		m.metrics.count(cached)
		m.call(done, a)
		return
	}
	slot, shared := m.questions[q]
	if m.waiting >= m.max*waitersShare || !shared && len(m.questions) >= m.max {
		m.stats.Busy++
		m.metrics.count(busy)
		m.call(done, Answer{Question: q, Err: ErrBusy})
		return
	}
	m.waiting++
	if shared {
		m.stats.Shared++
		f := &m.flights[slot]
		f.more = append(f.more, done)
		return
	}
	slot = m.slot()
	f := &m.flights[slot]
	f.q, f.done, f.asked, f.busy = q, done, now, true
	f.wire, f.end = appendQuery(f.wire[:0], q, false)
	m.questions[q] = slot
	f.server = m.pick(now)
	m.try(slot, now)
}

func (m *machine) call(done func(Answer), a Answer) {
	m.out.calls = append(m.out.calls, call{done, a})
}

// slot gives a free one.
func (m *machine) slot() int32 {
	if n := len(m.free); n > 0 {
		slot := m.free[n-1]
		m.free = m.free[:n-1]
		return slot
	}
	m.flights = append(m.flights, flight{socket: -1})
	return int32(len(m.flights) - 1)
}

// pick gives the server that is asked first: the first that answers. One that
// is down gets a question now and then.
func (m *machine) pick(now time.Time) uint8 {
	for i := range m.servers {
		s := &m.servers[i]
		if !s.down {
			return uint8(i)
		}
		if !now.Before(s.probe) {
			s.probe = now.Add(probeGap)
			return uint8(i)
		}
	}
	return 0
}

// try sends the question of a slot to its server.
func (m *machine) try(slot int32, now time.Time) {
	f := &m.flights[slot]
	f.sent++
	f.gen++
	m.push(ends, slot, now.Add(m.timeout))
	if f.tcp {
		binary.BigEndian.PutUint16(f.wire, m.random.uint16())
		f.socket = -1
		m.stats.TCP++
		m.out.tcp = append(m.out.tcp, tcpTry{slot, f.gen, f.server, append([]byte(nil), f.wire...)})
		return
	}
	m.emit(slot, now)
}

// emit sends the packet of a flight, or holds it until there is room in its
// server's window.
func (m *machine) emit(slot int32, now time.Time) {
	server := m.flights[slot].server
	m.age(server, now)
	if m.queues[flying(server)].len >= windowMax {
		m.push(held(server), slot, now)
		return
	}
	m.launch(slot, now)
}

// launch sends a packet, the first of a try or the same again.
func (m *machine) launch(slot int32, now time.Time) {
	f := &m.flights[slot]
	m.push(flying(f.server), slot, now.Add(windowAge))
	if f.socket >= 0 {
		m.stats.Resent++
		m.send(f)
		return
	}
	if len(m.out.sends) == 0 {
		m.socket = int(m.random.uint16()) % m.sockets
	}
	socket := int(f.server)*m.sockets + m.socket
	f.socket, f.id = int16(socket), m.freeID(socket)
	m.ids[uint32(socket)<<16|uint32(f.id)] = slot
	binary.BigEndian.PutUint16(f.wire, f.id)
	m.send(f)
	m.push(resends, slot, now.Add(m.timeout/resendShare))
}

// age takes out of a server's window what was sent a while ago.
func (m *machine) age(server uint8, now time.Time) {
	for slot := m.due(flying(server), now); slot != none; slot = m.due(flying(server), now) {
		m.unlink(window, slot)
	}
}

// release sends what waits, as far as there is room.
func (m *machine) release(server uint8, now time.Time) {
	for m.queues[flying(server)].len < windowMax {
		slot := m.queues[held(server)].first
		if slot == none {
			return
		}
		m.unlink(window, slot)
		m.launch(slot, now)
	}
}

func (m *machine) send(f *flight) {
	from := len(m.out.packets)
	m.out.packets = append(m.out.packets, f.wire...)
	m.out.sends = append(m.out.sends, send{f.socket, int32(from), int32(len(m.out.packets))})
}

// freeID gives an id that is not in use on a socket. There are fewer questions
// than ids, so it ends.
func (m *machine) freeID(socket int) uint16 {
	id := m.random.uint16()
	for i := 0; ; i++ {
		if _, used := m.ids[uint32(socket)<<16|uint32(id)]; !used {
			return id
		}
		if i < idTriesMax {
			id = m.random.uint16()
		} else {
			id++
		}
	}
}

// land ends the try of a slot, whatever comes next.
func (m *machine) land(slot int32, now time.Time) {
	f := &m.flights[slot]
	for place := range places {
		m.unlink(place, slot)
	}
	if f.socket >= 0 {
		delete(m.ids, uint32(f.socket)<<16|uint32(f.id))
		f.socket = -1
	} else if f.tcp {
		m.out.cancel = append(m.out.cancel, tcpTry{slot: slot, gen: f.gen})
	}
	m.release(f.server, now)
}

// packet takes what came in on a socket.
func (m *machine) packet(socket int, p []byte, now time.Time) {
	h, ok := decodeHeader(p)
	if !ok {
		m.stats.Strays++
		return
	}
	slot, ok := m.ids[uint32(socket)<<16|uint32(h.id)]
	if !ok {
		m.stats.Strays++
		return
	}
	if f := &m.flights[slot]; !h.repeats(p, f.wire, f.end) {
		m.stats.Strays++
		return
	}
	m.land(slot, now)
	m.judge(slot, h, p, now)
}

// tcpDone takes what came of a try over TCP; p is nil if nothing.
func (m *machine) tcpDone(slot int32, gen uint32, p []byte, now time.Time) {
	f := &m.flights[slot]
	if !f.busy || !f.tcp || f.gen != gen {
		return
	}
	h, ok := decodeHeader(p)
	if !ok || h.id != binary.BigEndian.Uint16(f.wire) || !h.repeats(p, f.wire, f.end) {
		f.malformed = f.malformed || p != nil
		m.land(slot, now)
		m.again(slot, now)
		return
	}
	m.land(slot, now)
	m.judge(slot, h, p, now)
}

// judge decides what an answer to a question means for it.
func (m *machine) judge(slot int32, h header, p []byte, now time.Time) {
	f := &m.flights[slot]
	s := &m.servers[f.server]
	s.misses, s.down = 0, false
	switch code := h.rcode(); {
	case h.truncated() && !f.tcp:
		f.tcp = true
		f.sent-- // it is the same try
		m.try(slot, now)
	case code == NoError || code == NXDomain:
		a, err := decode(p, f.q)
		if err != nil {
			f.malformed = true
			m.again(slot, now)
			return
		}
		a.Authentic = a.Authentic && m.trusted>>f.server&1 != 0
		m.cache.put(a, now)
		m.finish(slot, a, now)
	case (code == FormErr || code == NotImp) && !f.plain:
		// RFC 6891 §7: it may not know EDNS.
		f.plain = true
		f.wire, f.end = appendQuery(f.wire[:0], f.q, true)
		f.sent--
		m.try(slot, now)
	default:
		f.rcode = code
		f.failed |= 1 << f.server
		m.again(slot, now)
	}
}

// again goes on with the next server that has not failed, or gives up.
func (m *machine) again(slot int32, now time.Time) {
	f := &m.flights[slot]
	next, ok := m.following(f)
	if ok && int(f.sent) < m.tries*len(m.servers) {
		f.server = next
		f.tcp = false
		m.try(slot, now)
		return
	}
	a := Answer{Question: f.q}
	switch {
	case f.failed != 0:
		a.RCode = f.rcode
	case f.malformed:
		a.Err = ErrMalformed
	default:
		a.Err = ErrTimeout
	}
	m.finish(slot, a, now)
}

// following gives the next server after a flight's that reported no failure.
func (m *machine) following(f *flight) (uint8, bool) {
	n := len(m.servers)
	for i := 1; i <= n; i++ {
		s := (int(f.server) + i) % n
		if f.failed>>s&1 == 0 {
			return uint8(s), true
		}
	}
	return 0, false
}

// finish tells those who wait and frees the slot, whose try has landed.
func (m *machine) finish(slot int32, a Answer, now time.Time) {
	f := &m.flights[slot]
	a.Took = now.Sub(f.asked)
	if a.Err == nil {
		m.stats.Answered++
	}
	m.metrics.count(outcomeOf(&a))
	m.call(f.done, a)
	for _, done := range f.more {
		m.call(done, a)
	}
	m.waiting -= 1 + len(f.more)
	delete(m.questions, f.q)
	*f = flight{wire: f.wire[:0], gen: f.gen, socket: -1}
	m.free = append(m.free, slot)
}

// tick ends the tries whose time is over, and sends again what may be lost: the
// same packet, so that an answer to the first still counts.
func (m *machine) tick(now time.Time) {
	for slot := m.due(ends, now); slot != none; slot = m.due(ends, now) {
		f := &m.flights[slot]
		m.stats.Timeouts++
		unsent := f.socket < 0 && !f.tcp
		m.land(slot, now)
		if !unsent {
			m.missed(int(f.server), now)
		}
		m.again(slot, now)
	}
	for slot := m.due(resends, now); slot != none; slot = m.due(resends, now) {
		m.unlink(resends, slot)
		m.unlink(window, slot)
		m.emit(slot, now)
	}
	for i := range m.servers {
		m.age(uint8(i), now)
		m.release(uint8(i), now)
	}
}

// due gives the first of a queue if its time has come.
func (m *machine) due(q int, now time.Time) int32 {
	first := m.queues[q].first
	if first == none || m.flights[first].links[min(q, window)].at.After(now) {
		return none
	}
	return first
}

// missed counts a try that a server left unanswered.
func (m *machine) missed(i int, now time.Time) {
	s := &m.servers[i]
	if s.misses++; s.misses%downMisses == 0 || s.down {
		if !s.down {
			s.down, s.probe = true, now.Add(probeGap)
		}
		if now.Sub(s.redialled) >= probeGap {
			// The way to it may have changed, and with it our own address.
			s.redialled = now
			m.out.redial |= 1 << i
		}
	}
}

// refused takes that a server's host says that nobody is there. It is believed
// as far as another server is asked; without one, the time of the try is
// waited for, since the server may be restarting.
func (m *machine) refused(socket int, now time.Time) {
	i := socket / m.sockets
	s := &m.servers[i]
	if len(m.servers) == 1 || now.Sub(s.refused) < refusedGap {
		return
	}
	s.refused = now
	var slots []int32
	for slot := m.queues[ends].first; slot != none; slot = m.flights[slot].links[ends].next {
		f := &m.flights[slot]
		// The last try of all is not cut short.
		if int(f.socket) == socket && int(f.sent) < len(m.servers) {
			slots = append(slots, slot)
		}
	}
	for _, slot := range slots {
		m.land(slot, now)
		m.missed(i, now)
		m.again(slot, now)
	}
}

// end answers all that is in flight with ErrClosed, and what comes later.
func (m *machine) end(now time.Time) {
	m.closed = true
	for slot := range m.flights {
		if f := &m.flights[slot]; f.busy {
			m.land(int32(slot), now)
			m.finish(int32(slot), Answer{Question: f.q, Err: ErrClosed}, now)
		}
	}
}

// next gives when tick is to be called.
func (m *machine) next() (at time.Time, ok bool) {
	sooner := func(q int) {
		if first := m.queues[q].first; first != none {
			if t := m.flights[first].links[min(q, window)].at; !ok || t.Before(at) {
				at, ok = t, true
			}
		}
	}
	sooner(ends)
	sooner(resends)
	for i := range m.servers {
		if m.queues[held(uint8(i))].len > 0 {
			sooner(flying(uint8(i)))
		}
	}
	return at, ok
}

// push puts a flight at the end of a queue.
func (m *machine) push(q int, slot int32, at time.Time) {
	list := &m.queues[q]
	m.flights[slot].links[min(q, window)] = link{at: at, queue: int16(q + 1), next: none, prev: list.last}
	if list.last == none {
		list.first = slot
	} else {
		m.flights[list.last].links[min(q, window)].next = slot
	}
	list.last = slot
	list.len++
}

// unlink takes a flight out of the queue that it is in at a place, if any.
func (m *machine) unlink(place int, slot int32) {
	l := m.flights[slot].links[place]
	if l.queue == 0 {
		return
	}
	list := &m.queues[l.queue-1]
	if l.prev == none {
		list.first = l.next
	} else {
		m.flights[l.prev].links[place].next = l.next
	}
	if l.next == none {
		list.last = l.prev
	} else {
		m.flights[l.next].links[place].prev = l.prev
	}
	m.flights[slot].links[place] = link{}
	list.len--
}
