package lobby

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

// seeds returns the range of seeds to run: SEEDS is how many, SEED only one.
func seeds(t *testing.T, otherwise uint64) (first, last uint64) {
	read := func(name string) uint64 {
		n, err := strconv.ParseUint(cmp.Or(os.Getenv(name), "0"), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	if one := read("SEED"); one > 0 {
		return one, one
	}
	return 1, cmp.Or(read("SEEDS"), otherwise)
}

// TestSim_boundedAndWalled lets anybody arrive, say anything and vanish, in
// any order, in halls that are too small, and checks after each event that the
// bounds hold (I4), that nobody is handed over who was not let pass (I5), and
// that the Gate is told of each guest's end once.
func TestSim_boundedAndWalled(t *testing.T) {
	first, last := seeds(t, 150)
	for seed := first; seed <= last; seed++ {
		s := newSimulation(t, seed)
		for range 400 {
			s.step()
			if s.check(); t.Failed() {
				t.Fatalf("again with: SEED=%d go test ./internal/edge/lobby -run Sim", seed)
			}
		}
		s.h.stop()
		if s.empty(); t.Failed() {
			t.Fatalf("again with: SEED=%d go test ./internal/edge/lobby -run Sim", seed)
		}
	}
}

type simulation struct {
	*world
	rand  *rand.Rand
	conns []*fakeConn
	known map[*fakeConn]string // who it is, by address
	late  []func()             // scores on their way
}

func newSimulation(t testing.TB, seed uint64) *simulation {
	r := rand.New(rand.NewPCG(seed, 3))
	o := Options{
		Hostname: "mx.demo.test", TLS: r.IntN(2) == 0, TLSGuests: 1 + r.IntN(3), Strangers: 1 + r.IntN(30),
		Budget: int64(1000 + r.IntN(8000)), Stutter: Stutter{Off: r.IntN(2) == 0},
		ProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	g := newFakeGate()
	g.wait = time.Duration(r.IntN(3)) * time.Second
	s := &simulation{rand: r, known: map[*fakeConn]string{}}
	if r.IntN(3) > 0 {
		g.late = func(done func()) { s.late = append(s.late, done) }
	}
	s.world = newWorld(t, o, g)
	return s
}

// simWords are what guests say.
func simWords() []string {
	return []string{
		"EHLO a.example\r\n", "HELO notls.example\r\n", "EHLO \x01\r\n", "MAIL FROM:<a@a.example>\r\n", "MAIL FROM:<>\r\n",
		"RCPT TO:<one@demo.test>\r\n", "RCPT TO:<grey@demo.test>\r\n", "RCPT TO:<two@demo.test>\r\n", "STARTTLS\r\n", "DATA\r\n", "RSET\r\n", "NOOP\r\n",
		"QUIT\r\n", "VRFY x\r\n", "AUTH PLAIN\r\n", "BDAT 20 LAST\r\n12345678901234567890", "GET / HTTP/1.1\r\n", "Host: x\r\n", "x\n", "x\ry\r\n", "\x00\r\n",
		"\r\n", strings.Repeat("x", 3000), "PROXY TCP4 192.0.1.9 192.0.2.2 1 2\r\n", "PROXY TCP4 192.0.0.9 192.0.2.2 1 2\r\n", "PROXY UNKNOWN\r\n",
		string(listen.AppendProxy(nil, listen.ProxyHeader{Source: netip.MustParseAddrPort("192.0.2.9:7"), Destination: netip.MustParseAddrPort("192.0.2.1:25")})),
	}
}

// one picks one of a slice.
func one[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

// step lets one thing happen.
func (s *simulation) step() {
	r := s.rand
	if len(s.conns) == 0 || r.IntN(4) == 0 {
		from := fmt.Sprintf("%s:%d", one(r, []string{
			"192.0.0.1", "192.0.0.2", "192.0.1.1", "192.0.1.2", "192.0.2.1", "192.0.3.1", "192.0.4.1", "192.0.5.1", "10.0.0.1", "[2001:db8::1]",
		}), 1+r.IntN(60000))
		c := s.arrive(from)
		if r.IntN(4) == 0 {
			c.takes = r.IntN(300)
		}
		s.conns = append(s.conns, c)
		s.known[c] = from
		return
	}
	c := one(r, s.conns)
	s.h.setTime(s.now)
	switch r.IntN(12) {
	case 0:
		s.advance(time.Duration(r.IntN(2000)) * time.Millisecond)
	case 1:
		s.advance(time.Duration(r.IntN(100)) * time.Second)
	case 2:
		s.gate.level = policy.Level(r.IntN(3))
	case 3:
		if len(s.late) > 0 {
			i := r.IntN(len(s.late))
			done := s.late[i]
			s.late = append(s.late[:i], s.late[i+1:]...)
			done()
			s.answers()
		}
	case 4:
		s.sh.full = r.IntN(3)
	case 5:
		s.end(c)
	case 6:
		c.takes = max(c.takes, 0) + r.IntN(2000)
		if c.blocked && !c.closed && c.over == nil {
			c.blocked = false
			s.h.writable(c.slot, c.gen)
			s.settle()
		}
	default:
		text := ""
		for range 1 + r.IntN(6) {
			text += one(r, simWords())
		}
		s.sendCut(c, text)
	}
}

// end lets a client close or break its connection.
func (s *simulation) end(c *fakeConn) {
	if c.closed || c.over != nil {
		return
	}
	if s.rand.IntN(2) == 0 {
		c.broken = true
		s.h.broken(c.slot, c.gen)
		return
	}
	c.eof = true
	if g := s.h.live(c.slot, c.gen); g != nil {
		g.flags |= flagHup | flagReadable
		if len(c.unread) == 0 && s.h.want(c.slot, c.gen) == 0 {
			s.h.eof(c.slot, c.gen)
		}
	}
	s.feed(c)
	s.settle()
}

// sendCut sends a text in parts.
func (s *simulation) sendCut(c *fakeConn, text string) {
	for len(text) > 0 && !c.closed && c.over == nil && !c.eof {
		n := len(text)
		if s.rand.IntN(2) == 0 {
			n = 1 + s.rand.IntN(n)
		}
		s.send(c, text[:n])
		text = text[n:]
	}
}

// check checks what must always hold.
func (s *simulation) check() {
	h, p := s.h, s.h.pool
	if p.price.Load() > p.budget || p.guests.Load() > p.strangers || p.tls.Load() > p.tlsGuests {
		s.t.Errorf("bounds are broken: price %d of %d, guests %d of %d, TLS %d of %d",
			p.price.Load(), p.budget, p.guests.Load(), p.strangers, p.tls.Load(), p.tlsGuests)
	}
	price, count, entered := int64(0), 0, 0
	for i := range h.slabs {
		for j := range h.slabs[i] {
			g := &h.slabs[i][j]
			if g.stage == stageFree {
				continue
			}
			count++
			price += guestPrice + int64(cap(g.state))
			if g.flags&flagEntered != 0 {
				entered++
			}
			if g.flags&flagTimed == 0 {
				s.t.Errorf("a guest that is %v is in no slot of the wheel", g.stage)
			}
			if g.rank != g.judgeRank() {
				s.t.Errorf("a guest of rank %v, want %v", g.rank, g.judgeRank())
			}
		}
	}
	for _, b := range h.owed {
		price += b.price
	}
	for _, r := range h.rulings {
		price += r.price()
	}
	if price != p.price.Load() || count != h.count || int64(count) != p.guests.Load() || entered != s.gate.inside() {
		s.t.Errorf("got price %d, %d and %d guests, %d at the gate; want %d, %d, %d", p.price.Load(), h.count, p.guests.Load(), s.gate.inside(), price, count, entered)
	}
	ranked := 0
	for r := range rankCount {
		n := 0
		for slot := h.ranks[r].next; slot != 0; slot = h.at(slot).order.next {
			n++
		}
		if n != h.ranked[r] {
			s.t.Errorf("rank %v has %d guests, counted %d", r, n, h.ranked[r])
		}
		ranked += n
	}
	if ranked != count {
		s.t.Errorf("%d guests have a rank, want %d", ranked, count)
	}
	for _, c := range s.conns {
		s.checkConn(c)
	}
}

func (s *simulation) checkConn(c *fakeConn) {
	if c.over == nil {
		if !c.closed && s.h.live(c.slot, c.gen) == nil {
			s.t.Error("a connection is neither held nor closed nor handed over")
		}
		return
	}
	from := c.over.Remote.Addr()
	listed := third(from) == octetListed && c.over.Guest.Scored || third(from) == octetBanned || third(from) == octetBusy
	known := third(from) == octetKnown
	if listed || known != c.over.Fresh || strings.Contains(c.said.String(), " 5.7.1 ") {
		s.t.Errorf("%v was handed over (fresh: %v) after %q", from, c.over.Fresh, c.said.String())
	}
}
