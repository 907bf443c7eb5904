package session

import (
	"context"
	"crypto/tls"
	"net"
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

	room    Mailroom
	kind    Kind     // whom it serves; changes with a login
	metrics *Metrics // of that kind

	env    *Envelope   // the transaction that has been opened, or refused
	txn    Transaction // of env; nil if it was refused
	denied error       // why it was
	asked  int         // recipients of env that txn was asked about and has accepted
	body   Body        // of txn
	began  time.Time   // the body
	opened time.Time   // the session
	tally  Summary
	ending string // why the session ended, for the log
	endErr error
}

// serve runs a dialogue to its end.
func (s *Server) serve(ctx context.Context, c *listen.Conn, b *Beginning, ev smtp.Event) {
	n := &session{
		s: s, c: c, m: s.machine(c), d: b.Dialogue, in: b.Unread, opened: s.o.Clock.Now(), tls: describeTLS(c),
		room: b.Room, kind: s.o.Kind, metrics: s.o.Metrics,
	}
	if n.room == nil {
		n.room = s.room
	}
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
	n.metrics.sessions.Inc()
	n.metrics.began.Inc()
	defer func() {
		unstop()
		cancel()
		n.giveUp()
		n.closeTransaction()
		n.release()
		if cap(n.out) <= outBufferKeepMax {
			*outs = n.out
			s.outs.Put(outs)
		}
		n.metrics.sessions.Dec()
		n.logEnd()
		if b.Ended != nil {
			n.tally.User, n.tally.Reason = n.kind == Submission, n.ending
			b.Ended(n.tally)
		}
	}()
	n.run(ctx, ev)
}

// run steps the machine until the conversation is over.
func (n *session) run(ctx context.Context, ev smtp.Event) {
	for ok := true; ok; {
		var a smtp.Action
		a, n.out = n.m.Step(&n.d, ev, n.s.o.Clock.Now(), n.out)
		n.in = n.in[a.N:]
		if a.Kind == smtp.ActionAbort {
			n.logRefused(n.d.Fault(), nil)
			n.giveUp()
		}
		if n.env != n.d.Envelope() {
			n.closeTransaction()
		}
		ev, ok = n.act(ctx, a)
	}
}

// act does what the machine wants and returns what came of it; ok is false
// when the conversation is over.
func (n *session) act(ctx context.Context, a smtp.Action) (ev smtp.Event, ok bool) {
	switch a.Kind {
	case smtp.ActionSender:
		return n.sender(), true
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
	case smtp.ActionTLS:
		return n.startTLS()
	case smtp.ActionAuth:
		return n.auth(ctx, a), true
	case smtp.ActionCancel:
		n.metrics.logins[loginCancelled].Inc()
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

// sender opens the transaction at MAIL.
func (n *session) sender() smtp.Event {
	err := n.open()
	if err != nil {
		n.tally.RecipientsRefused++
		n.logSender(n.env, err)
	}
	return n.answer(err)
}

// open opens the transaction unless that has been done. One that was begun
// elsewhere is asked about the recipients that were accepted there: all but
// the one in question, and no less than that.
func (n *session) open() error {
	if n.env != nil {
		return n.denied
	}
	n.env = n.d.Envelope()
	n.facts(n.env)
	if n.denied = n.lapsed(); n.denied == nil {
		n.txn, n.denied = n.room.Open(n.work, n.env)
	}
	return n.denied
}

// lapsed refuses whoever has logged in with what no longer counts. It is asked
// at each step up to the end of a body: a thief may have transactions open, and
// bodies that trickle in, when the password is changed.
func (n *session) lapsed() error {
	if current := n.s.o.Current; current != nil && n.id.Account != 0 && !current(n.id) {
		return &smtp.Reply{Code: 530, Enhanced: "5.7.0", Text: "Your password has changed, connect and log in again"}
	}
	return nil
}

// catchUp asks about recipients that were accepted before a hand-over, of
// which there are most often none. If one is refused now, its client believes
// otherwise, and none of the message may be taken for good.
func (n *session) catchUp(accepted []smtp.Recipient) error {
	if err := n.open(); err != nil {
		return err
	}
	if err := n.lapsed(); err != nil || n.asked >= len(accepted) {
		return err
	}
	all := n.env.Recipients
	defer func() { n.env.Recipients = all }()
	for ; n.asked < len(accepted); n.asked++ {
		n.env.Recipients = all[:n.asked+1]
		if err := n.txn.Recipient(n.work, accepted[n.asked].To); err != nil {
			if isFault(err) {
				n.logFault(err)
			}
			return &smtp.Reply{Code: 451, Enhanced: "4.2.0", Text: "A recipient has changed just now, try again: " + accepted[n.asked].To.String()}
		}
	}
	return nil
}

func (n *session) recipient() smtp.Event {
	e := n.d.Envelope()
	last := len(e.Recipients) - 1
	err := n.catchUp(e.Recipients[:last])
	if err == nil {
		err = n.txn.Recipient(n.work, e.Recipients[last].To)
	}
	if err == nil {
		n.asked++
		n.metrics.rcptOK.Inc()
	} else {
		n.metrics.rcptNo.Inc()
		n.tally.RecipientsRefused++
		n.logRecipient(e, e.Recipients[last].To, err)
	}
	return n.answer(err)
}

// facts fills in what the machine does not know.
func (n *session) facts(e *Envelope) {
	e.Session, e.RemoteIP, e.TLS = n.c.ID(), n.c.RemoteIP(), n.tls
	if tcp, ok := n.c.RemoteAddr().(*net.TCPAddr); ok {
		e.Port = uint16(tcp.Port)
	}
	e.Account, e.User = n.id.Account, n.id.Address
}

func (n *session) begin() smtp.Event {
	e := n.d.Envelope()
	n.began = n.s.o.Clock.Now()
	err := n.catchUp(e.Recipients)
	if err == nil {
		n.body, err = n.txn.Begin(n.work, *e)
	}
	if err != nil {
		n.body = nil
		n.logRefused("", err)
		return n.answer(err)
	}
	return smtp.Event{Kind: smtp.EventProceed}
}

// closeTransaction ends the transaction that is over, if one is.
func (n *session) closeTransaction() {
	t := n.txn
	n.env, n.txn, n.denied, n.asked = nil, nil, nil, 0
	if t != nil {
		t.Close()
	}
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
	if err := n.lapsed(); err != nil {
		return n.bodyFailed(err)
	}
	b := n.body
	n.body = nil
	size := n.d.Size()
	n.tally.Octets += size
	n.metrics.octets.Add(float64(size))
	from := n.s.o.Clock.Now()
	id, err := b.Commit(n.work)
	took := n.s.o.Clock.Now().Sub(from)
	n.metrics.commit.Observe(took.Seconds())
	if err != nil {
		n.logRefused("", err)
		return n.answer(err)
	}
	n.owed = true
	n.logAccepted(id, size)
	return smtp.Event{Kind: smtp.EventProceed, Text: id}
}

// giveUp aborts the body that is under way, if one is.
func (n *session) giveUp() {
	if n.body == nil {
		return
	}
	b := n.body
	n.body = nil
	n.metrics.aborted.Inc()
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
		n.metrics.handshakes[0].Inc()
		n.ending, n.endErr = "handshake", err
		return ev, false
	}
	n.metrics.handshakes[1].Inc()
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
