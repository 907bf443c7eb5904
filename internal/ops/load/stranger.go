package load

import (
	"math"
	"strconv"
)

// stage is where a stranger's dialogue stands: what it waits for.
type stage uint8

const (
	absent     stage = iota // no connection on this descriptor
	connecting              // for the handshake
	atBanner                // for the banner
	atEHLO                  // for the reply to EHLO
	atMAIL
	atRCPT
	holding // for nothing: it has had its answer and stays, silent
	leaving // for the reply to QUIT
)

func (s stage) String() string {
	return [...]string{"", "connect", "banner", "ehlo", "mail", "rcpt", "later", "quit"}[s]
}

// answered tells whether the stranger has had the answer that it came for.
func (s stage) answered() bool { return s == holding || s == leaving }

// fate is what becomes of a stranger; each gets one.
type fate uint8

const (
	undecided  fate = iota
	refused         // 5xx at RCPT
	accepted        // 2xx at RCPT
	turnedAway      // any other 4xx or 5xx
	lost            // no answer: reset, closed, silence
	fates
)

// stranger is one dialogue, as a machine without I/O. Its size is what a
// connection costs the client: times are milliseconds since the loop began.
type stranger struct {
	since  uint32 // when it set out
	due    uint32 // when its patience ends, unless it is holding
	number uint32 // how many came before it: makes its address and names
	life   uint32 // tells it from those that had its descriptor before
	code   uint16 // of the line that is being read
	column uint8  // octets of the line seen, 4 for more
	stage  stage
	more   bool // the line says that another follows
	quits  bool // after its answer, instead of staying
}

// malformed is what hear makes of a line that is no reply.
const malformed = 0xffff

// hear takes one octet and gives the code of the reply that it ends, 0 if it
// ends none (RFC 5321 §4.2.1). Texts are not kept: there may be 18,000.
func (s *stranger) hear(b byte) uint16 {
	if b == '\n' {
		code, column, more := s.code, s.column, s.more
		s.code, s.column, s.more = 0, 0, false
		switch {
		case column < 3 || code < 200 || code > 599:
			return malformed
		case more:
			return 0
		}
		return code
	}
	switch {
	case s.column < 3 && b >= '0' && b <= '9':
		s.code = s.code*10 + uint16(b-'0')
	case s.column < 3 && b != '\r', s.column == 3 && b != ' ' && b != '-' && b != '\r':
		s.code = 0 // what follows cannot make it a reply again
		s.column = 3
	case s.column == 3:
		s.more = b == '-'
	}
	if s.column < 4 && b != '\r' {
		s.column++
	}
	return 0
}

// move is what a stranger does about a reply.
type move struct {
	say   stage // the command whose reply it will wait for; absent: nothing
	fate  fate  // decided by this reply, or undecided
	close bool
}

// answer takes a whole reply and moves on.
func (s *stranger) answer(code uint16) move {
	if s.stage.answered() {
		return move{close: s.stage == leaving}
	}
	if s.stage == atRCPT {
		return s.verdict(code)
	}
	if code == malformed || code/100 != 2 {
		return move{fate: turnedAway, close: true}
	}
	s.stage++
	return move{say: s.stage}
}

// verdict takes the reply to RCPT. Whatever it is, the stranger stays, as in
// the incident, unless it is one of those that leave.
func (s *stranger) verdict(code uint16) move {
	m := move{fate: turnedAway}
	switch {
	case code == malformed:
		m.close = true
		return m
	case code/100 == 5:
		m.fate = refused
	case code/100 == 2:
		m.fate = accepted
	}
	s.stage = holding
	if s.quits {
		s.stage, m.say = leaving, leaving
	}
	return m
}

// line appends the command whose reply a stranger in stage st waits for.
func (s *stranger) line(to []byte, st stage, rcpt string) []byte {
	number := func() { to = strconv.AppendUint(to, uint64(s.number), 10) }
	switch st {
	case atEHLO:
		to = append(to, "EHLO host"...)
		number()
		to = append(to, ".stranger.test"...)
	case atMAIL:
		to = append(to, "MAIL FROM:<offer"...)
		number()
		to = append(to, "@stranger.test>"...)
	case atRCPT:
		to = append(to, "RCPT TO:<"...)
		to = append(to, rcpt...)
		to = append(to, '>')
	case leaving:
		to = append(to, "QUIT"...)
	}
	return append(to, "\r\n"...)
}

const (
	// The strangers' addresses, 127.16.0.0 to 127.254.255.255: each in a /24
	// of its own.
	strangerNetsMin = 16 << 8
	strangerNets    = (255 - 16) << 8
	// strangerStride scatters neighbours in time over the networks; it shares
	// no factor with strangerNets = 239 · 2⁸.
	strangerStride = 22_699
)

// strangerAddr gives the address of the n-th stranger. After 61,184 of them
// the networks come round again, with another host.
func strangerAddr(n uint32) [4]byte {
	network := strangerNetsMin + n%strangerNets*strangerStride%strangerNets
	host := n/strangerNets%254 + 1
	return [4]byte{127, byte(network >> 8), byte(network), byte(host)}
}

// quits tells whether the n-th stranger is one of the share that leaves; they
// are spread evenly.
func quits(n uint32, share float64) bool {
	return math.Floor(float64(n+1)*share) > math.Floor(float64(n)*share)
}
