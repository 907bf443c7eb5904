package session

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// session is one conversation. All of it belongs to the goroutine that serves
// it, except stopping.
type session struct {
	s *Server
	c *listen.Conn
	m *smtp.Machine
	d smtp.Dialogue

	in    []byte                  // what was read and not consumed
	big   *[readBufferOctets]byte // that in lies in, if it does
	small [smallBufferOctets]byte // that it lies in otherwise
	get   func() []byte           // takes big
	put   func([]byte)            // gives it back
	more  bool                    // the last read of a TLS connection filled small
	out   []byte                  // replies not yet sent
	owed  bool                    // among them is one that accepts a message
	work  context.Context         // of questions: outlives the session's by the grace
	stop  atomic.Bool             // the host is stopping
	told  bool                    // and the machine knows
	until time.Time               // when the grace ends
	exch  sasl.Exchange           // under way
	fails int                     // logins that failed
	id    sasl.Identity           // who has logged in
	tls   string                  // version and cipher suite

	body   Body
	env    *Envelope // of body
	began  time.Time // the body
	opened time.Time // the session
	tally  tally
	ending string // why the session ended, for the log
	endErr error
}

// tally is what the log line of the session's end says.
type tally struct {
	accepted, refused, rcptRefused int
	octets                         int64
}

// serve runs a dialogue to its end.
func (s *Server) serve(ctx context.Context, c *listen.Conn, d smtp.Dialogue, ev smtp.Event, unread []byte) {
	n := &session{s: s, c: c, m: s.machine(c), d: d, in: unread, opened: s.o.Clock.Now(), tls: describeTLS(c)}
	n.get = func() []byte {
		n.big = s.buffers.Get().(*[readBufferOctets]byte)
		return n.big[:]
	}
	n.put = func([]byte) {
		s.buffers.Put(n.big)
		n.big = nil
	}
	outs := s.outs.Get().(*[]byte)
	n.out = (*outs)[:0]
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.work = work
	unstop := context.AfterFunc(ctx, func() {
		n.stop.Store(true)
		c.SetReadDeadline(s.o.Clock.Now()) // wakes the session up; if it fails, the connection has gone
		select {
		case <-s.o.Clock.After(s.o.Grace):
			cancel()
		case <-work.Done():
		}
	})
	s.o.Metrics.sessions.Inc()
	s.o.Metrics.began.Inc()
	defer func() {
		unstop()
		cancel()
		n.giveUp()
		n.release()
		if cap(n.out) <= outBufferKeepMax {
			*outs = n.out
			s.outs.Put(outs)
		}
		s.o.Metrics.sessions.Dec()
		n.logEnd()
	}()
	n.run(ctx, ev)
}

// run steps the machine until the conversation is over.
func (n *session) run(ctx context.Context, ev smtp.Event) {
	for ok := true; ok; {
		var a smtp.Action
		a, n.out = n.m.Step(&n.d, ev, n.s.o.Clock.Now(), n.out)
		n.in = n.in[a.N:]
		ev, ok = n.act(ctx, a)
	}
}

// act does what the machine wants and returns what came of it; ok is false
// when the conversation is over.
func (n *session) act(ctx context.Context, a smtp.Action) (ev smtp.Event, ok bool) {
	switch a.Kind {
	case smtp.ActionSender:
		n.facts(n.d.Envelope())
		return n.answer(n.s.sender.Sender(n.work, n.d.Envelope())), true
	case smtp.ActionRecipient:
		return n.recipient(), true
	case smtp.ActionBegin:
		return n.begin(), true
	case smtp.ActionBody:
		if n.body != nil {
			if _, err := n.body.Write(a.Data); err != nil {
				return n.bodyFailed(err), true
			}
		}
	case smtp.ActionEnd:
		if n.owed && !n.flush() { // the answer to the last message shall not wait for this one
			return ev, false
		}
		return n.commit(), true
	case smtp.ActionAbort:
		n.logRefused(n.d.Fault(), nil)
		n.giveUp()
	case smtp.ActionTLS:
		return n.startTLS()
	case smtp.ActionAuth:
		return n.auth(ctx, a), true
	case smtp.ActionCancel:
		n.s.o.Metrics.logins[loginCancelled].Inc()
		n.exch = nil
	case smtp.ActionClose:
		n.close()
		return ev, false
	}
	if len(n.in) > 0 || a.Kind != smtp.ActionRead {
		return smtp.Event{Kind: smtp.EventInput, Data: n.in}, true
	}
	if !n.flush() {
		return ev, false
	}
	return n.read()
}

// answer makes the machine's event of a decision.
func (n *session) answer(err error) smtp.Event {
	if err == nil {
		return smtp.Event{Kind: smtp.EventProceed}
	}
	if isFault(err) {
		n.logFault(err)
	}
	return smtp.Event{Kind: smtp.EventRefuse, Reply: replyTo(err)}
}

func (n *session) recipient() smtp.Event {
	e := n.d.Envelope()
	to := e.Recipients[len(e.Recipients)-1].To
	err := n.s.room.Recipient(n.work, e.From, to)
	if err == nil {
		n.s.o.Metrics.rcptOK.Inc()
	} else {
		n.s.o.Metrics.rcptNo.Inc()
		n.tally.rcptRefused++
		n.logRecipient(e, to, err)
	}
	return n.answer(err)
}

// facts fills in what the machine does not know.
func (n *session) facts(e *Envelope) {
	e.Session, e.RemoteIP, e.TLS = n.c.ID(), n.c.RemoteIP(), n.tls
	e.Account, e.User = n.id.Account, n.id.Address
}

func (n *session) begin() smtp.Event {
	e := n.d.Envelope()
	n.facts(e)
	n.env = e
	n.began = n.s.o.Clock.Now()
	b, err := n.s.room.Begin(n.work, *e)
	if err != nil {
		n.logRefused("", err)
		n.env = nil
		return n.answer(err)
	}
	n.body = b
	return smtp.Event{Kind: smtp.EventProceed}
}

// bodyFailed tells the machine that the body cannot be taken; it reads on to
// its end.
func (n *session) bodyFailed(err error) smtp.Event {
	n.logRefused("", err)
	n.giveUp()
	return n.answer(err)
}

// commit takes the message over.
func (n *session) commit() smtp.Event {
	b := n.body
	n.body = nil
	size := n.d.Size()
	n.tally.octets += size
	n.s.o.Metrics.octets.Add(float64(size))
	from := n.s.o.Clock.Now()
	id, err := b.Commit(n.work)
	took := n.s.o.Clock.Now().Sub(from)
	n.s.o.Metrics.commit.Observe(took.Seconds())
	if err != nil {
		n.logRefused("", err)
		n.env = nil
		return n.answer(err)
	}
	n.owed = true
	n.logAccepted(id, size)
	n.env = nil
	return smtp.Event{Kind: smtp.EventProceed, Text: id}
}

// giveUp aborts the body that is under way, if one is.
func (n *session) giveUp() {
	if n.body == nil {
		return
	}
	b := n.body
	n.body, n.env = nil, nil
	n.s.o.Metrics.aborted.Inc()
	b.Abort()
}

// startTLS makes the connection secure, RFC 3207.
func (n *session) startTLS() (ev smtp.Event, ok bool) {
	if !n.flush() {
		return ev, false
	}
	n.in = nil // §6: nothing that came in the clear is carried over
	n.release()
	ctx, cancel := context.WithTimeout(n.work, n.s.o.Handshake)
	defer cancel()
	if err := n.c.StartTLS(ctx); err != nil {
		n.s.o.Metrics.handshakes[0].Inc()
		n.ending, n.endErr = "handshake", err
		return ev, false
	}
	n.s.o.Metrics.handshakes[1].Inc()
	n.m = n.s.machine(n.c)
	n.tls = describeTLS(n.c)
	return smtp.Event{Kind: smtp.EventProceed}, true
}

func describeTLS(c *listen.Conn) string {
	cs, ok := c.ConnectionState()
	if !ok {
		return ""
	}
	return tls.VersionName(cs.Version) + " " + tls.CipherSuiteName(cs.CipherSuite)
}
