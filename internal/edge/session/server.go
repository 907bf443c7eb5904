package session

import (
	"context"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Server serves SMTP connections of one kind.
type Server struct {
	o        Options
	room     Mailroom
	backend  sasl.Backend
	mo       smtp.Options
	machines [2]*smtp.Machine // without and with STARTTLS
	buffers  sync.Pool        // of *[readBufferOctets]byte
	outs     sync.Pool        // of *[]byte, for replies
}

// New makes a server. backend is who knows passwords; an MX that has none, or
// no Options.Users, offers no AUTH.
func New(o Options, room Mailroom, backend sasl.Backend) *Server {
	o = o.withDefaults()
	if r, ok := backend.(Reviewer); ok && o.Current == nil {
		o.Current = r.Current
	}
	s := &Server{o: o, room: room, backend: backend}
	s.buffers.New = func() any { return new([readBufferOctets]byte) }
	s.outs.New = func() any { b := make([]byte, 0, 1<<10); return &b }
	s.mo = smtp.Options{
		Hostname: o.Hostname, Submission: o.Kind == Submission,
		SizeMax: o.MessageSize, RecipientsMax: o.MaxRecipients, Postmaster: o.Postmaster,
		CloseOnFault: o.CloseOnFault, WithoutDSN: o.WithoutDSN,
		Without8Bit: o.Without8Bit, WithoutUTF8: o.WithoutUTF8, RequireTLS: o.RequireTLS, AskSender: true, Times: o.Times,
	}
	if backend != nil && (o.Kind == Submission || o.Users != nil) {
		s.mo.Mechanisms = sasl.Mechanisms(true)
	}
	for i := range s.machines {
		mo := s.mo
		mo.TLS = i == 1
		s.machines[i] = smtp.NewMachine(mo)
	}
	return s
}

// ServeConn holds the conversation on a new connection and returns when it is
// over. The caller closes the connection. When ctx ends the session does, as
// the package documentation says.
func (s *Server) ServeConn(ctx context.Context, c *listen.Conn) {
	s.Serve(ctx, c, Beginning{})
}

// Beginning says how a session begins. The zero value is a new connection.
type Beginning struct {
	// Room takes this session's mail instead of the server's room, until
	// somebody logs in. nil: the server's.
	Room Mailroom
	// Resumed says that the conversation was begun elsewhere: Dialogue is its
	// state, by a machine of Server.MachineOptions. A question that was not
	// answered there is answered here. Only a SASL exchange cannot be taken
	// over when its challenge is out: its client hears 454.
	Resumed  bool
	Dialogue smtp.Dialogue
	// Unread are the octets that were read and not consumed.
	Unread []byte
	// Ended hears what has come of the session, on its goroutine, when
	// nothing more will; nil: nobody wants to know.
	Ended func(Summary)
}

// Summary is what has come of a session.
type Summary struct {
	Accepted          int    // messages
	Refused           int    // messages whose body had begun
	RecipientsRefused int    // and senders
	Logins            int    // that succeeded: one at most
	LoginsFailed      int    // for a wrong password
	Octets            int64  // of bodies
	User              bool   // it has become, or was, submission
	Reason            string // of its end: quit, left, timeout, closed, shutdown, read, write, handshake
}

// Serve holds the conversation on a connection, from wherever it stands, and
// returns when it is over. The rest is as for ServeConn.
func (s *Server) Serve(ctx context.Context, c *listen.Conn, b Beginning) {
	ev := smtp.Event{Kind: smtp.EventOpen}
	if _, ok := c.ConnectionState(); ok {
		ev.Kind = smtp.EventOpenTLS
	}
	if b.Resumed {
		ev.Kind = smtp.EventResume
	}
	s.serve(ctx, c, &b, ev)
}

// MachineOptions are those of the machines that sessions run, without TLS: a
// dialogue that another shell begins with them can be taken over unnoticed.
func (s *Server) MachineOptions() smtp.Options { return s.mo }

// machine is the one for a connection: it offers STARTTLS where there is a
// certificate.
func (s *Server) machine(c *listen.Conn) *smtp.Machine {
	if c.CanTLS() {
		return s.machines[1]
	}
	return s.machines[0]
}
