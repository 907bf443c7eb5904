package dns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// world plays the network of a machine on a simulated clock.
type world struct {
	t       *testing.T
	m       *machine
	now     time.Time
	sent    []packetOut
	tcp     []tcpTry
	answers map[Question][]Answer
	redials int
}

type packetOut struct {
	socket int
	p      []byte
}

func newWorld(t *testing.T, servers int, change func(*Options)) *world {
	t.Helper()
	o := Options{InFlight: 8}
	for i := range servers {
		o.Servers = append(o.Servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 53))
	}
	if change != nil {
		change(&o)
	}
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	seed := [32]byte{1}
	return &world{
		t: t, m: newMachine(&o, 2, 1, rand.NewChaCha8(seed)), now: time.Unix(1e9, 0), answers: make(map[Question][]Answer),
	}
}

// take carries out what the machine wants.
func (w *world) take() {
	for _, s := range w.m.out.sends {
		w.sent = append(w.sent, packetOut{int(s.socket), append([]byte(nil), w.m.out.packets[s.from:s.to]...)})
	}
	w.tcp = append(w.tcp, w.m.out.tcp...)
	calls := append([]call(nil), w.m.out.calls...)
	if w.m.out.redial != 0 {
		w.redials++
	}
	w.m.out.reset()
	for _, c := range calls {
		c.done(c.answer)
	}
}

func (w *world) ask(name string) Question {
	q := Question{Name: name, Type: A}
	w.m.ask(q, func(a Answer) { w.answers[q] = append(w.answers[q], a) }, w.now)
	w.take()
	return q
}

func (w *world) advance(d time.Duration) {
	w.now = w.now.Add(d)
	w.m.tick(w.now)
	w.take()
}

// last gives the packet that was sent last, and its server.
func (w *world) last() (packetOut, int) {
	w.t.Helper()
	if len(w.sent) == 0 {
		w.t.Fatal("nothing was sent")
	}
	p := w.sent[len(w.sent)-1]
	return p, p.socket / w.m.sockets
}

// reply makes an answer to a packet; change may spoil it.
func reply(t *testing.T, query []byte, rcode int, change func(*mdns.Msg), records ...string) []byte {
	t.Helper()
	var q mdns.Msg
	if err := q.Unpack(query); err != nil {
		t.Fatal(err)
	}
	m := new(mdns.Msg).SetRcode(&q, rcode)
	for _, text := range records {
		rr, err := mdns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if change != nil {
		change(m)
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) deliver(socket int, p []byte) {
	w.m.packet(socket, p, w.now)
	w.take()
}

// one gives the one answer to a question.
func (w *world) one(q Question) Answer {
	w.t.Helper()
	if n := len(w.answers[q]); n != 1 {
		w.t.Fatalf("got %d answers to %v, want 1", n, q)
	}
	if len(w.m.questions) == 0 && (len(w.m.ids)+w.m.waiting != 0 || w.queued()) {
		w.t.Fatalf("nothing in flight, but %d ids, queues %v, %d waiting", len(w.m.ids), w.m.queues, w.m.waiting)
	}
	return w.answers[q][0]
}

// queued tells whether a queue is not empty.
func (w *world) queued() bool {
	for _, q := range w.m.queues {
		if q != (queue{first: none, last: none}) {
			return true
		}
	}
	return false
}

func (w *world) waits(q Question) {
	w.t.Helper()
	if n := len(w.answers[q]); n != 0 {
		w.t.Fatalf("got %d answers to %v, want none yet: %v", n, q, w.answers[q])
	}
}

func TestMachine_answers(t *testing.T) {
	w := newWorld(t, 1, nil)
	q := w.ask("a.example")
	p, _ := w.last()
	w.now = w.now.Add(30 * time.Millisecond)
	w.deliver(p.socket, reply(t, p.p, 0, func(m *mdns.Msg) { m.AuthenticatedData = true }, "a.example. 60 IN A 192.0.2.1"))
	a := w.one(q)
	if a.Err != nil || len(a.Addrs) != 1 || a.Took != 30*time.Millisecond || !a.Authentic {
		t.Errorf("got %+v, want an authentic address after 30 ms", a)
	}
}

func TestMachine_ignoresForgeries(t *testing.T) {
	w := newWorld(t, 2, nil)
	q := w.ask("a.example")
	p, _ := w.last()
	good := func(change func(*mdns.Msg)) []byte {
		return reply(t, p.p, 0, change, "a.example. 60 IN A 192.0.2.66")
	}
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Id++ }))
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Question[0].Name = "b.example." }))
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeAAAA }))
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }))
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Question = nil }))
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Response = false }))
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Opcode = mdns.OpcodeNotify }))
	w.deliver((p.socket+1)%4, good(nil))
	w.deliver(p.socket, nil)
	w.deliver(p.socket, []byte{p.p[0], p.p[1], 0x80})
	w.waits(q)
	if w.m.stats.Strays != 10 {
		t.Errorf("got %d strays, want 10", w.m.stats.Strays)
	}
	w.deliver(p.socket, good(func(m *mdns.Msg) { m.Question[0].Name = "A.eXample." }))
	if a := w.one(q); a.Err != nil || len(a.Addrs) != 1 {
		t.Errorf("got %+v, want the address", a)
	}
	w.deliver(p.socket, good(nil)) // once more: nobody waits
	w.one(q)
}

func TestMachine_silence(t *testing.T) {
	w := newWorld(t, 2, nil)
	q := w.ask("a.example")
	var order []int
	for range 3 {
		_, s := w.last()
		order = append(order, s)
		w.advance(tryTimeoutDefault - 1)
		w.waits(q)
		w.advance(1)
	}
	first := w.sent[0]
	w.deliver(first.socket, reply(t, first.p, 0, nil, "a.example. 60 IN A 192.0.2.1")) // late
	w.waits(q)
	w.advance(tryTimeoutDefault)
	if a := w.one(q); !errors.Is(a.Err, ErrTimeout) || a.Took != 4*tryTimeoutDefault {
		t.Errorf("got %v after %v, want %v after four tries", a.Err, a.Took, ErrTimeout)
	}
	if fmt.Sprint(order) != "[0 1 0]" || len(w.sent) != 7 { // the last try ended in one step, without a resend
		t.Errorf("got servers %v and %d packets, want each in turn, 7", order, len(w.sent))
	}
	ids := map[string]bool{}
	for _, p := range w.sent {
		ids[string(p.p[:2])] = true
	}
	if len(ids) != 4 {
		t.Errorf("got %d ids in 4 tries, want a new one for each", len(ids))
	}
}

func TestMachine_resends(t *testing.T) {
	w := newWorld(t, 1, nil)
	q := w.ask("a.example")
	w.advance(tryTimeoutDefault/resendShare - 1)
	if len(w.sent) != 1 {
		t.Fatalf("got %d packets, want 1 before its time", len(w.sent))
	}
	w.advance(1)
	w.advance(tryTimeoutDefault / 2)
	if len(w.sent) != 2 || string(w.sent[0].p) != string(w.sent[1].p) || w.sent[0].socket != w.sent[1].socket {
		t.Fatalf("got %d packets, want the same twice", len(w.sent))
	}
	p := w.sent[0]
	w.deliver(p.socket, reply(t, p.p, 0, nil, "a.example. 60 IN A 192.0.2.1"))
	w.deliver(p.socket, reply(t, p.p, 0, nil, "a.example. 60 IN A 192.0.2.1"))
	if a := w.one(q); a.Failed() || w.m.stats.Resent != 1 {
		t.Errorf("got %+v and %d packets again, want an answer and 1", a, w.m.stats.Resent)
	}
	if _, ok := w.m.next(); ok {
		t.Error("nothing is in flight, but something is waited for")
	}
}

// TestMachine_window has more questions than a server's buffer takes.
func TestMachine_window(t *testing.T) {
	w := newWorld(t, 1, func(o *Options) { o.InFlight = 1000 })
	for i := range 3 * windowMax {
		w.ask(fmt.Sprintf("a%d.example", i))
	}
	if len(w.sent) != windowMax {
		t.Fatalf("got %d packets at once, want %d", len(w.sent), windowMax)
	}
	p := w.sent[0]
	w.deliver(p.socket, reply(t, p.p, 0, nil))
	if len(w.sent) != windowMax+1 {
		t.Errorf("got %d packets after an answer, want one more", len(w.sent))
	}
	at, _ := w.m.next()
	w.advance(at.Sub(w.now))
	if len(w.sent) != 2*windowMax+1 || at.Sub(time.Unix(1e9, 0)) != windowAge {
		t.Errorf("got %d packets after %v, want %d: what was sent then is on its way", len(w.sent), at.Sub(time.Unix(1e9, 0)), 2*windowMax+1)
	}
	w.advance(windowAge)
	if len(w.sent) != 3*windowMax {
		t.Errorf("got %d packets, want all %d", len(w.sent), 3*windowMax)
	}
	w.advance(tryTimeoutDefault / resendShare)
	if w.m.stats.Resent != windowMax {
		t.Errorf("got %d packets again, want them in a window, too", w.m.stats.Resent)
	}
	for range 20 * 3 {
		w.advance(tryTimeoutDefault / 20)
	}
	w.advance(2 * tryTimeoutDefault)
	if n := w.m.stats.Timeouts; n != 2*3*windowMax-1 && n != 2*3*windowMax-2 {
		t.Errorf("got %d tries without an answer, want two of each question but one", n)
	}
	if len(w.m.questions) != 0 || w.queued() {
		t.Errorf("got %d in flight, want none", len(w.m.questions))
	}
}

func TestMachine_failures(t *testing.T) {
	for _, code := range []int{mdns.RcodeServerFailure, mdns.RcodeRefused} {
		w := newWorld(t, 2, nil)
		q := w.ask("a.example")
		p, _ := w.last()
		w.deliver(p.socket, reply(t, p.p, code, nil))
		w.waits(q)
		p, s := w.last()
		if s != 1 {
			t.Fatalf("got server %d after a failure, want the second", s)
		}
		w.deliver(p.socket, reply(t, p.p, code, func(m *mdns.Msg) { m.Question = nil }))
		if a := w.one(q); a.Err != nil || a.RCode != RCode(code) || !a.Failed() || len(w.sent) != 2 {
			t.Errorf("got %v %v after %d packets, want %v after 2", a.RCode, a.Err, len(w.sent), RCode(code))
		}

		q = w.ask("b.example")
		p, _ = w.last()
		w.deliver(p.socket, reply(t, p.p, code, nil))
		p, _ = w.last()
		w.deliver(p.socket, reply(t, p.p, 0, nil, "b.example. 60 IN A 192.0.2.1"))
		if a := w.one(q); a.Failed() || len(a.Addrs) != 1 {
			t.Errorf("got %+v, want the second server's address", a)
		}
	}
}

func TestMachine_malformed(t *testing.T) {
	w := newWorld(t, 1, nil)
	q := w.ask("a.example")
	for range 2 {
		w.waits(q)
		p, _ := w.last()
		bad := reply(t, p.p, 0, nil, "a.example. 60 IN A 192.0.2.1")
		w.deliver(p.socket, bad[:len(bad)-3])
	}
	if a := w.one(q); a.Err != ErrMalformed || len(w.sent) != 2 {
		t.Errorf("got %v after %d packets, want %v after 2", a.Err, len(w.sent), ErrMalformed)
	}
}

func TestMachine_withoutEDNS(t *testing.T) {
	w := newWorld(t, 1, nil)
	q := w.ask("a.example")
	p, _ := w.last()
	w.deliver(p.socket, reply(t, p.p, mdns.RcodeFormatError, func(m *mdns.Msg) { m.Question = nil }))
	w.waits(q)
	p, _ = w.last()
	var m mdns.Msg
	if err := m.Unpack(p.p); err != nil || m.IsEdns0() != nil {
		t.Fatalf("got %v (%v), want a query without EDNS", m.IsEdns0(), err)
	}
	w.deliver(p.socket, reply(t, p.p, 0, nil, "a.example. 60 IN A 192.0.2.1"))
	if a := w.one(q); a.Failed() {
		t.Errorf("got %+v, want an address", a)
	}
}

func TestMachine_truncated(t *testing.T) {
	truncate := func(m *mdns.Msg) { m.Truncated = true }
	w := newWorld(t, 2, nil)
	q := w.ask("a.example")
	p, _ := w.last()
	w.deliver(p.socket, reply(t, p.p, 0, truncate))
	w.waits(q)
	if len(w.tcp) != 1 || w.tcp[0].server != 0 {
		t.Fatalf("got tries over TCP %v, want one of the same server", w.tcp)
	}
	try := w.tcp[0]
	w.m.tcpDone(try.slot, try.gen+1, reply(t, try.query, 0, nil), w.now) // of another try
	w.waits(q)
	w.m.tcpDone(try.slot, try.gen, nil, w.now) // nobody listens
	w.take()
	p, s := w.last()
	if s != 1 {
		t.Fatalf("got server %d after TCP failed, want the second", s)
	}
	w.deliver(p.socket, reply(t, p.p, 0, truncate))
	w.advance(tryTimeoutDefault) // silence over TCP
	p, s = w.last()
	if s != 0 {
		t.Fatalf("got server %d, want the first again", s)
	}
	w.deliver(p.socket, reply(t, p.p, 0, truncate))
	try = w.tcp[len(w.tcp)-1]
	w.m.tcpDone(try.slot, try.gen, reply(t, try.query, 0, nil, "a.example. 60 IN A 192.0.2.1"), w.now)
	w.take()
	if a := w.one(q); a.Failed() || len(a.Addrs) != 1 {
		t.Errorf("got %+v, want the address", a)
	}
	w.m.tcpDone(try.slot, try.gen, reply(t, try.query, 0, nil), w.now)
	w.take()
	w.one(q)
}

func TestMachine_bounded(t *testing.T) {
	w := newWorld(t, 1, nil)
	for i := range 8 {
		w.waits(w.ask(fmt.Sprintf("a%d.example", i)))
	}
	if a := w.one(w.ask("b.example")); a.Err != ErrBusy {
		t.Errorf("ninth question: got %v, want %v", a.Err, ErrBusy)
	}
	for range 8*waitersShare - 8 {
		w.ask("a0.example")
	}
	if len(w.sent) != 8 {
		t.Errorf("got %d packets, want 8: the same question is asked once", len(w.sent))
	}
	q := w.ask("a0.example")
	if a := w.one(q); a.Err != ErrBusy {
		t.Errorf("caller %d: got %v, want %v", 8*waitersShare+1, a.Err, ErrBusy)
	}
	p := w.sent[0]
	w.deliver(p.socket, reply(t, p.p, 0, nil, "a0.example. 60 IN A 192.0.2.1"))
	if n := len(w.answers[q]); n != 8*waitersShare-8+2 {
		t.Errorf("got %d answers for those who asked the same, want %d", n, 8*waitersShare-8+2)
	}
	w.waits(w.ask("c.example"))
	w.m.end(w.now)
	w.take()
	if a := w.one(Question{Name: "c.example", Type: A}); a.Err != ErrClosed {
		t.Errorf("after the end: got %v, want %v", a.Err, ErrClosed)
	}
	if a := w.one(w.ask("d.example")); a.Err != ErrClosed {
		t.Errorf("after the end: got %v, want %v", a.Err, ErrClosed)
	}
}

func TestMachine_serverDown(t *testing.T) {
	w := newWorld(t, 2, nil)
	for i := range downMisses {
		w.ask(fmt.Sprintf("a%d.example", i))
	}
	w.advance(tryTimeoutDefault)
	if w.redials != 1 {
		t.Errorf("got %d times new sockets, want 1", w.redials)
	}
	w.ask("b.example")
	if _, s := w.last(); s != 1 {
		t.Errorf("got server %d, want the one that is not down", s)
	}
	for _, p := range w.sent[downMisses : 2*downMisses] {
		w.deliver(p.socket, reply(t, p.p, 0, nil))
	}
	w.advance(probeGap)
	w.ask("c.example")
	probe, s := w.last()
	w.ask("d.example")
	if _, s2 := w.last(); s != 0 || s2 != 1 {
		t.Errorf("got servers %d and %d, want one question to find out", s, s2)
	}
	w.deliver(probe.socket, reply(t, probe.p, 0, nil))
	w.ask("e.example")
	if _, s := w.last(); s != 0 {
		t.Errorf("got server %d, want the first, which is back", s)
	}
}

func TestMachine_refusedByHost(t *testing.T) {
	w := newWorld(t, 2, nil)
	q := w.ask("a.example")
	p, _ := w.last()
	w.m.refused(p.socket, w.now)
	w.take()
	p, s := w.last()
	if s != 1 || len(w.sent) != 2 {
		t.Fatalf("got server %d and %d packets, want the second at once", s, len(w.sent))
	}
	w.m.refused(p.socket, w.now)
	w.take()
	w.waits(q)
	if len(w.sent) != 2 {
		t.Errorf("got %d packets, want no third before its time", len(w.sent))
	}
	w.advance(tryTimeoutDefault)
	if len(w.sent) != 3 {
		t.Errorf("got %d packets, want a third after the time of a try", len(w.sent))
	}
}

func TestMachine_cache(t *testing.T) {
	w := newWorld(t, 1, func(o *Options) { o.CacheEntries = 2 })
	resolve := func(name string, ttl int) {
		w.ask(name)
		p, _ := w.last()
		w.deliver(p.socket, reply(t, p.p, 0, nil, fmt.Sprintf("%s. %d IN A 192.0.2.1", name, ttl)))
	}
	resolve("a.example", 60)
	w.advance(20 * time.Second)
	q := w.ask("a.example")
	if got := w.answers[q]; len(got) != 2 || got[1].TTL != 40*time.Second || len(got[1].Addrs) != 1 || len(w.sent) != 1 {
		t.Errorf("got %v and %d packets, want the answer again, good for 40 s", got, len(w.sent))
	}
	w.advance(40 * time.Second)
	resolve("a.example", 60)
	if len(w.sent) != 2 {
		t.Errorf("got %d packets, want a second after the TTL", len(w.sent))
	}
	resolve("b.example", 60)
	resolve("c.example", 60) // a gives way
	sent := len(w.sent)
	w.ask("b.example")
	w.ask("c.example")
	if len(w.sent) != sent {
		t.Errorf("got %d packets, want none for what is remembered", len(w.sent)-sent)
	}
	resolve("a.example", 0)
	resolve("a.example", 0)
	if len(w.sent) != sent+2 || len(w.m.cache.ring) != 2 || len(w.m.cache.index) != 2 {
		t.Errorf("got %d packets, %d entries, want 2 packets and 2 entries", len(w.sent)-sent, len(w.m.cache.ring))
	}
}

// TestMachine_random plays networks that lose, delay, double, spoil and forge:
// each question has one answer, and nothing is left over.
func TestMachine_random(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, 1+int(seed%3), func(o *Options) { o.InFlight, o.CacheEntries = 400, int(seed%2)*16 })
		asked, answered := 0, 0
		seen := 0
		var late []packetOut
		for range 2000 {
			for range r.IntN(3) {
				asked++
				called := false
				w.m.ask(Question{Name: fmt.Sprintf("a%d.example", r.IntN(3000)), Type: A}, func(a Answer) {
					if called {
						t.Fatalf("seed %d: a second answer to %v", seed, a.Question)
					}
					called = true
					answered++
				}, w.now)
				w.take()
			}
			for ; seen < len(w.sent); seen++ {
				late = append(late, w.sent[seen])
			}
			if len(late) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(late))
				p := late[i]
				if r.IntN(4) > 0 {
					late = append(late[:i], late[i+1:]...)
				}
				w.answerRandomly(r, p)
			}
			for i, try := range w.tcp {
				if r.IntN(3) > 0 {
					w.m.tcpDone(try.slot, try.gen, reply(t, try.query, r.IntN(6), nil), w.now)
					w.tcp = append(w.tcp[:i], w.tcp[i+1:]...)
					w.take()
					break
				}
			}
			w.advance(time.Duration(r.IntN(15)) * time.Millisecond)
		}
		w.advance(time.Hour)
		for range triesMax * serversMax {
			w.advance(tryTimeoutDefault)
		}
		if asked != answered || len(w.m.questions)+len(w.m.ids)+w.m.waiting != 0 || w.queued() {
			t.Fatalf("seed %d: got %d answers to %d questions; %d in flight, %d ids", seed, answered, asked, len(w.m.questions), len(w.m.ids))
		}
	}
}

func (w *world) answerRandomly(r *rand.Rand, p packetOut) {
	switch r.IntN(8) {
	case 0: // lost
	case 1:
		w.m.refused(p.socket, w.now)
		w.take()
	case 2:
		w.deliver(p.socket, reply(w.t, p.p, 0, func(m *mdns.Msg) { m.Truncated = true }))
	case 3:
		b := reply(w.t, p.p, 0, nil, "a1.example. 60 IN A 192.0.2.1")
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		w.deliver(p.socket, b)
	default:
		w.deliver(p.socket, reply(w.t, p.p, r.IntN(6), nil))
	}
}
