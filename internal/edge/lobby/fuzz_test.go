package lobby

import (
	"net/netip"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

// FuzzHall lets the octets of the input choose what happens to a hall that is
// too small: who arrives, what is said and taken, what breaks, what time it
// is. After each event everything must add up.
func FuzzHall(f *testing.F) {
	f.Add([]byte("a\x00s\x17EHLO a.example\r\nMAIL FROM:<>\r\n"))
	f.Add([]byte("a\x01s\x0eEHLO a.example\ns\x13MAIL FROM:<a@b.c>\r\ns\x12RCPT TO:<x@demo>\r\nt\xffl\x02t\xff"))
	f.Add([]byte("a\x00a\x01a\x02a\x03a\x04a\x05a\x06w\x05b\x01e\x00t\x50v\x00f\x02"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1024 {
			return
		}
		s := newSimulation(t, 1)
		s.o.Strangers, s.h.pool.strangers, s.h.pool.budget = 8, 8, 6000
		next := func() int {
			if len(in) == 0 {
				return 0
			}
			b := in[0]
			in = in[1:]
			return int(b)
		}
		for len(in) > 0 {
			fuzzStep(s, next(), next(), func(n int) string {
				n = min(n, len(in))
				text := string(in[:n])
				in = in[n:]
				return text
			})
			s.check()
			if t.Failed() {
				return
			}
		}
		s.h.stop()
		s.empty()
	})
}

func fuzzStep(s *simulation, what, n int, text func(int) string) {
	s.h.setTime(s.now)
	if what == 'a' || len(s.conns) == 0 {
		c := s.arrive(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n % 7), byte(n)}), uint16(n)).String())
		s.conns = append(s.conns, c)
		return
	}
	c := s.conns[n%len(s.conns)]
	switch what {
	case 's', 'S':
		if !c.closed && c.over == nil && !c.eof {
			s.send(c, text(n))
		}
	case 'w':
		c.takes = n
	case 'W':
		c.takes = -1
		if c.blocked && !c.closed && c.over == nil {
			c.blocked = false
			s.h.writable(c.slot, c.gen)
			s.settle()
		}
	case 'e':
		s.end(c)
	case 't':
		s.advance(time.Duration(n) * 40 * time.Millisecond)
	case 'T':
		if s.now.Before(time.Unix(1_800_000_000, 0).Add(time.Hour)) { // else it is slow
			s.advance(time.Duration(n) * time.Second)
		}
	case 'l':
		s.gate.level = policy.Level(n % 3)
	case 'f':
		s.sh.full = n % 3
	case 'v':
		if len(s.late) > 0 {
			done := s.late[0]
			s.late = s.late[1:]
			done()
			s.answers()
		}
	}
}
