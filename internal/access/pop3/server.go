package pop3

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Conn is what a session needs of its connection: edge/listen's has it.
type Conn interface {
	net.Conn
	// StartTLS does the server's side of a handshake; everything read and
	// written from then on is under TLS.
	StartTLS(ctx context.Context) error
	// ConnectionState tells the facts of TLS; false without it.
	ConnectionState() (tls.ConnectionState, bool)
}

// Server serves POP3 sessions. Its methods may be called concurrently.
type Server struct {
	o        Options
	accounts sasl.Backend
	drops    maildrops
	buffers  sync.Pool // *[bodyBufferOctets]byte

	mu     sync.Mutex
	locked map[uint64]struct{} // accounts whose drop-box has a session; guarded by mu
}

// New returns a server for the accounts that log in through the given
// backend, whose drop-boxes are their INBOXes in mailboxes.
func New(o Options, accounts sasl.Backend, mailboxes *mailbox.Store) *Server {
	return newServer(o, accounts, storedMaildrops{mailboxes})
}

func newServer(o Options, accounts sasl.Backend, drops maildrops) *Server {
	return &Server{
		o:        o.withDefaults(),
		accounts: accounts,
		drops:    drops,
		buffers:  sync.Pool{New: func() any { return new([bodyBufferOctets]byte) }},
		locked:   map[uint64]struct{}{},
	}
}

// ServeConn holds one session and closes c behind it. When ctx ends, the
// command in progress is finished, the client is told, and the session ends
// without an update.
func (s *Server) ServeConn(ctx context.Context, c Conn) {
	defer c.Close()
	s.o.Metrics.sessions.Inc()
	defer s.o.Metrics.sessions.Dec()
	newSession(ctx, s, c).run(ctx)
}

// lock takes an account's drop-box for one session (RFC 1939 §4).
func (s *Server) lock(account uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.locked[account]; held {
		return false
	}
	s.locked[account] = struct{}{}
	return true
}

func (s *Server) unlock(account uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locked, account)
}
