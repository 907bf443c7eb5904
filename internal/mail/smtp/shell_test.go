package smtp

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// shell is the smallest shell of the machine: it answers the machine's
// questions by names in the addresses.
type shell struct {
	t        testing.TB
	m        *Machine
	d        Dialogue
	handOver bool // the state is made into octets and back before each step
	now      time.Time

	out      []byte
	body     *bytes.Buffer
	bodies   []string    // taken over
	envs     []*Envelope // of bodies
	aborted  int
	cancels  int
	closed   bool
	afterTLS func() // called at ActionTLS, before it is answered
}

func newShell(t testing.TB, m *Machine) *shell {
	return &shell{t: t, m: m, now: time.Unix(1_800_000_000, 0)}
}

// step runs one event and all that follows from it, up to the next ActionRead
// with the input consumed.
func (s *shell) step(ev Event) {
	var input []byte
	if ev.Kind == EventInput {
		input = ev.Data
	}
	for {
		if s.handOver {
			b := s.d.AppendBinary(nil)
			env := s.d.env
			d, err := DecodeDialogue(b)
			if err != nil {
				s.t.Fatalf("state does not survive: %v\n%+v", err, s.d)
			}
			if env != nil && d.env != nil {
				d.env.Session = env.Session
			}
			s.d = d
		}
		var a Action
		a, s.out = s.m.Step(&s.d, ev, s.now, s.out)
		if a.N > len(input) {
			s.t.Fatalf("consumed %d of %d octets", a.N, len(input))
		}
		input = input[a.N:]
		ev = s.act(a, input)
		if a.Kind == ActionClose {
			s.closed = true
			return
		}
		if a.Kind == ActionRead {
			if len(input) == 0 {
				return
			}
			ev = Event{Kind: EventInput, Data: input}
		}
	}
}

func refuse(code int, enhanced EnhancedCode, text string) Event {
	return Event{Kind: EventRefuse, Reply: &Reply{code, enhanced, text}}
}

// act answers one action.
func (s *shell) act(a Action, rest []byte) Event {
	yes := Event{Kind: EventProceed}
	switch a.Kind {
	case ActionSender:
		if s.d.Envelope().From.Local == "forged" {
			return refuse(553, "5.7.1", "Not your address")
		}
		return yes
	case ActionRecipient:
		r := s.d.Envelope().Recipients
		switch r[len(r)-1].To.Local {
		case "unknown":
			return refuse(550, "5.1.1", "No such user")
		case "later":
			return refuse(450, "4.2.1", "Try later\nreally")
		}
		return yes
	case ActionBegin:
		if s.d.Envelope().From.Local == "nobegin" {
			return refuse(452, "4.3.1", "Disk full")
		}
		s.body = new(bytes.Buffer)
		return yes
	case ActionBody:
		if s.body == nil {
			s.t.Error("octets without a body")
			return Event{Kind: EventInput, Data: rest}
		}
		s.body.Write(a.Data)
		if s.d.Envelope().From.Local == "failing" && s.body.Len() > 5 {
			s.body = nil
			return refuse(452, "4.3.1", "Disk full now")
		}
	case ActionEnd:
		return s.end()
	case ActionAbort:
		if s.body == nil {
			s.t.Error("abort without a body")
		}
		s.body = nil
		s.aborted++
	case ActionClose:
		s.body = nil
	case ActionTLS:
		if s.afterTLS != nil {
			s.afterTLS()
		}
		return yes
	case ActionAuth:
		return s.auth(a)
	case ActionCancel:
		s.cancels++
	}
	return Event{Kind: EventInput, Data: rest}
}

func (s *shell) end() Event {
	b := s.body
	s.body = nil
	if b == nil {
		s.t.Error("end without a body")
		return Event{Kind: EventRefuse}
	}
	e := s.d.Envelope()
	if e.Recipients[0].To.Local == "full" {
		return refuse(552, "5.2.2", "Mailbox full")
	}
	if e.Recipients[0].To.Local == "fault" {
		return Event{Kind: EventRefuse}
	}
	s.bodies = append(s.bodies, b.String())
	s.envs = append(s.envs, e)
	return Event{Kind: EventProceed, Text: fmt.Sprintf("message %d, %d octets", len(s.bodies), b.Len())}
}

// auth is a mechanism PLAIN of its own, whose passwords say what happens, and
// TWO, which asks twice.
func (s *shell) auth(a Action) Event {
	if a.Mechanism == "TWO" {
		return Event{Kind: EventChallenge, Data: []byte("first")}
	}
	if a.Data == nil {
		return Event{Kind: EventChallenge}
	}
	switch string(a.Data) {
	case "\x00one\x00secret":
		return Event{Kind: EventProceed}
	case "again":
		return Event{Kind: EventChallenge, Data: []byte("second")}
	case "\x00one\x00fault":
		return refuse(454, "4.7.0", "Temporary authentication failure")
	}
	return refuse(535, "5.7.8", "Authentication credentials invalid")
}

// serve runs the shell over a connection until either side closes.
func (s *shell) serve(c net.Conn, open EventKind) {
	defer c.Close()
	s.step(Event{Kind: open})
	buf := make([]byte, 64<<10)
	for {
		if len(s.out) > 0 {
			if _, err := c.Write(s.out); err != nil {
				return
			}
			s.out = s.out[:0]
		}
		if s.closed {
			return
		}
		if err := c.SetReadDeadline(s.d.Due()); err != nil {
			return
		}
		n, err := c.Read(buf)
		s.now = time.Now()
		switch {
		case n > 0:
			s.step(Event{Kind: EventInput, Data: buf[:n]})
		case strings.Contains(err.Error(), "timeout"):
			s.step(Event{Kind: EventTimeout})
		default:
			return
		}
	}
}
