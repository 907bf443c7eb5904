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
	sender   SenderChecker // nil: the Mailroom has no say at MAIL
	backend  sasl.Backend
	machines [2]*smtp.Machine // without and with STARTTLS
	buffers  sync.Pool        // of *[readBufferOctets]byte
	outs     sync.Pool        // of *[]byte, for replies
}

// New makes a server. backend is used by Submission only and may be nil for
// MX.
func New(o Options, room Mailroom, backend sasl.Backend) *Server {
	o = o.withDefaults()
	s := &Server{o: o, room: room, backend: backend}
	s.sender, _ = room.(SenderChecker)
	s.buffers.New = func() any { return new([readBufferOctets]byte) }
	s.outs.New = func() any { b := make([]byte, 0, 1<<10); return &b }
	mo := smtp.Options{
		Hostname: o.Hostname, Submission: o.Kind == Submission,
		SizeMax: o.MessageSize, RecipientsMax: o.MaxRecipients, Postmaster: o.Postmaster,
		CloseOnFault: o.CloseOnFault, WithoutDSN: o.WithoutDSN, AskSender: s.sender != nil, Times: o.Times,
	}
	if o.Kind == Submission && backend != nil {
		mo.Mechanisms = sasl.Mechanisms(true)
	}
	for i := range s.machines {
		mo.TLS = i == 1
		s.machines[i] = smtp.NewMachine(mo)
	}
	return s
}

// ServeConn holds the conversation on a new connection and returns when it is
// over. The caller closes the connection. When ctx ends the session does, as
// the package documentation says.
func (s *Server) ServeConn(ctx context.Context, c *listen.Conn) {
	open := smtp.EventOpen
	if _, ok := c.ConnectionState(); ok {
		open = smtp.EventOpenTLS
	}
	s.serve(ctx, c, smtp.Dialogue{}, smtp.Event{Kind: open}, nil)
}

// Resume goes on with a conversation that was begun elsewhere: with the
// machine's state and the octets that were read and not consumed. A question
// that was not answered there is answered here.
func (s *Server) Resume(ctx context.Context, c *listen.Conn, d smtp.Dialogue, unread []byte) {
	s.serve(ctx, c, d, smtp.Event{Kind: smtp.EventResume}, unread)
}

// machine is the one for a connection: it offers STARTTLS where there is a
// certificate.
func (s *Server) machine(c *listen.Conn) *smtp.Machine {
	if c.CanTLS() {
		return s.machines[1]
	}
	return s.machines[0]
}
