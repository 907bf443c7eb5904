package lobby

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// fakeShell is a shell whose connections are buffers.
type fakeShell struct {
	h     *hall
	gate  *fakeGate
	conns map[int32]*fakeConn
	last  int32
	later []answer // scores that are on their way
	full  int      // hand-overs that fail for want of descriptors
}

type fakeConn struct {
	slot, gen uint32
	said      strings.Builder // to the client
	takes     int             // octets that the client still takes; -1: all
	blocked   bool
	broken    bool
	closed    bool
	half      bool
	over      *Handover
	rest      string // written after the hand-over
	unread    []byte // octets in the kernel
	eof       bool
}

func (f *fakeShell) write(fd int32, _, _ uint32, b []byte) int {
	c := f.conns[fd]
	switch {
	case c == nil || c.closed || c.over != nil:
		panic(fmt.Sprintf("write to a connection that is no more: %q", b))
	case c.broken:
		return -1
	case c.half:
		panic("write after shutdown")
	}
	n := len(b)
	if c.takes >= 0 {
		n = min(n, c.takes)
		c.takes -= n
	}
	c.said.Write(b[:n])
	c.blocked = n < len(b)
	return n
}

func (f *fakeShell) shutdown(fd int32) { f.conns[fd].half = true }

func (f *fakeShell) close(fd int32) {
	if c := f.conns[fd]; c.closed || c.over != nil {
		panic("closed twice, or after a hand-over")
	}
	f.conns[fd].closed = true
}

func (f *fakeShell) pass(fd int32, rest []byte, o Handover) bool {
	if f.full > 0 {
		f.full--
		return false
	}
	c := f.conns[fd]
	if c.closed || c.over != nil {
		panic("handed over twice, or after it was closed")
	}
	c.over, c.rest = &o, string(rest)
	f.gate.passed(&o)
	return true
}

func (f *fakeShell) answer(slot, gen uint32, s dnsbl.Score) {
	f.later = append(f.later, answer{slot, gen, s})
}

// world is a hall with a shell, a gate and a clock.
type world struct {
	t    testing.TB
	o    Options
	now  time.Time
	gate *fakeGate
	sh   *fakeShell
	h    *hall
}

func newWorld(t testing.TB, o Options, gate *fakeGate) *world {
	o = o.withDefaults()
	w := &world{t: t, o: o, gate: gate, now: time.Unix(1_800_000_000, 0), sh: &fakeShell{gate: gate, conns: map[int32]*fakeConn{}}}
	w.h = newHall(&w.o, &pool{strangers: int64(o.Strangers), budget: o.Budget, tlsGuests: int64(o.TLSGuests)}, gate, listen.NewIDs())
	w.h.lead = true
	w.h.sh, w.sh.h = w.sh, w.h
	w.h.begin(w.now)
	return w
}

// advance lets time pass, and the scores come at its end.
func (w *world) advance(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		step := min(max(w.h.wait(), time.Millisecond), end.Sub(w.now))
		w.now = w.now.Add(step)
		w.h.setTime(w.now)
		w.h.tick()
		w.settle()
	}
}

// settle does what a shell does after each event.
func (w *world) settle() {
	for len(w.h.ready) > 0 {
		ready := w.h.ready
		w.h.ready = nil
		for _, slot := range ready {
			if g := w.h.taken(slot); g != nil {
				w.feed(w.sh.conns[g.fd])
			}
		}
	}
}

// arrive brings a connection.
func (w *world) arrive(from string) *fakeConn {
	w.sh.last++
	c := &fakeConn{takes: -1}
	w.sh.conns[w.sh.last] = c
	w.h.setTime(w.now)
	c.slot, c.gen = w.h.arrive(w.sh.last, netip.MustParseAddrPort(from))
	w.settle()
	return c
}

// send sends octets to the hall, as far as it wants them.
func (w *world) send(c *fakeConn, s string) {
	c.unread = append(c.unread, s...)
	w.h.setTime(w.now)
	w.feed(c)
	w.settle()
}

func (w *world) feed(c *fakeConn) {
	for c.over == nil && !c.closed {
		want := w.h.want(c.slot, c.gen)
		if want == 0 {
			if len(c.unread) > 0 {
				w.h.waiting(c.slot, c.gen)
			}
			return
		}
		n := min(want, len(c.unread))
		b := c.unread[:n]
		c.unread = c.unread[n:]
		if g := w.h.live(c.slot, c.gen); g != nil && len(c.unread) == 0 {
			g.flags &^= flagReadable
		}
		if n == 0 {
			if c.eof {
				w.h.eof(c.slot, c.gen)
			}
			return
		}
		w.h.octets(c.slot, c.gen, b)
	}
}

// answers brings the scores that are on their way.
func (w *world) answers() {
	for _, a := range w.sh.later {
		w.h.setTime(w.now)
		w.h.scored(a.slot, a.gen, a.score)
	}
	w.sh.later = nil
	w.settle()
}

// take returns what was said since.
func (c *fakeConn) take() string {
	s := c.said.String()
	c.said.Reset()
	return s
}

// codes are the codes of the replies in s, those of several lines once.
func codes(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if len(line) > 4 && line[3] == ' ' {
			out = append(out, line[:3])
		}
	}
	return strings.Join(out, " ")
}

func (w *world) wantSaid(c *fakeConn, want string) {
	w.t.Helper()
	if got := codes(c.take()); got != want {
		w.t.Errorf("got replies %q, want %q", got, want)
	}
}

func TestGuestPrice(t *testing.T) {
	if got := int(reflect.TypeFor[guest]().Size()); got != guestPrice {
		t.Errorf("got a guest of %d octets, want guestPrice, %d", got, guestPrice)
	}
}

func TestHall_refusedAtRcpt(t *testing.T) {
	w := newWorld(t, Options{Hostname: "mx.demo.test", TLS: true, Stutter: Stutter{Off: true}}, newFakeGate())
	w.gate.wait = time.Second
	c := w.arrive("192.0.1.7:1000")
	w.wantSaid(c, "")
	w.advance(time.Second + 8*time.Millisecond)
	w.wantSaid(c, "220")
	w.send(c, "EHLO spam.example\r\n")
	if got := c.take(); strings.Contains(got, "STARTTLS") || codes(got) != "250" {
		t.Errorf("got %q, want a 250 without STARTTLS", got)
	}
	w.send(c, "MAIL FROM:<a@spam.example>\r\nRCPT TO:<one@demo.test>\r\nRCPT TO:<two@demo.test>\r\nDATA\r\n")
	said := c.take()
	if codes(said) != "250 550 550 554" && codes(said) != "250 550 550 503" {
		t.Errorf("got %q, want both recipients refused", said)
	}
	if n := strings.Count(said, "550 5.7.1 192.0.1.7 is listed by bl.demo.test, see https://bl.demo.test/192.0.1.7\r\n"); n != 2 {
		t.Errorf("got the reason %d times in %q, want twice", n, said)
	}
	w.send(c, "QUIT\r\n")
	w.wantSaid(c, "221")
	if !c.closed || c.over != nil {
		t.Error("the connection is not closed")
	}
	g := w.gate.lastLeft(t)
	if g.Ended != policy.EndedQuit || !g.Refused || g.Helo != "spam.example" || g.From.String() != "a@spam.example" ||
		g.To.String() != "one@demo.test" || g.Rcpts != 2 || !g.Scored || g.Questions != 2 {
		t.Errorf("got %+v", g)
	}
	w.empty()
}

// empty checks that nothing is left of any guest.
func (w *world) empty() {
	w.t.Helper()
	p := w.h.pool
	if w.h.count != 0 || p.guests.Load() != 0 || p.price.Load() != 0 || len(w.h.owed) != 0 || len(w.h.rulings) != 0 || w.gate.inside() != 0 {
		w.t.Errorf("left over: %d guests, price %d, %d backlogs, %d rulings, %d at the gate",
			w.h.count, p.price.Load(), len(w.h.owed), len(w.h.rulings), w.gate.inside())
	}
}

func TestHall_passes(t *testing.T) {
	w := newWorld(t, Options{Hostname: "mx.demo.test"}, newFakeGate())
	c := w.arrive("192.0.0.7:1000")
	w.wantSaid(c, "220")
	w.send(c, "EHLO good.example\r\nMAIL FROM:<a@good.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\n")
	w.wantSaid(c, "250 250")
	if c.over == nil {
		t.Fatal("no hand-over")
	}
	o := c.over
	if string(o.Unread) != "DATA\r\n" || o.Fresh || o.Remote.String() != "192.0.0.7:1000" || o.Guest.To.String() != "one@demo.test" || len(o.ID) != 13 {
		t.Errorf("got %+v", o)
	}
	d := o.Dialogue
	a, _ := smtp.NewMachine(smtp.Options{}).Step(&d, smtp.Event{Kind: smtp.EventResume}, w.now, nil)
	if a.Kind != smtp.ActionRecipient {
		t.Errorf("got question %v, want that of the recipient", a.Kind)
	}
	if w.h.pool.sessions.Load() != 1 {
		t.Error("the session is not counted")
	}
	o.Ended()
	o.Ended()
	if w.h.pool.sessions.Load() != 0 {
		t.Error("the session's end is not counted once")
	}
	w.empty()
}
