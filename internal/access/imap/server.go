package imap

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

// Server serves IMAP sessions. Its methods may be called concurrently.
type Server struct {
	o        Options
	accounts sasl.Backend
	boxes    *mailbox.Store
	pools    *pools

	mu    sync.Mutex
	users map[uint64]int // sessions by account; guarded by mu
}

// New returns a server for the accounts that log in through the given
// backend, and their mailboxes.
func New(o Options, accounts sasl.Backend, mailboxes *mailbox.Store) *Server {
	return &Server{
		o:        o.withDefaults(),
		accounts: accounts,
		boxes:    mailboxes,
		pools:    newPools(),
		users:    map[uint64]int{},
	}
}

// ServeConn holds one session and closes c behind it. When ctx ends, the
// change in progress is finished, the client is told BYE, and the session
// ends, even in the middle of a literal.
func (s *Server) ServeConn(ctx context.Context, c Conn) {
	defer c.Close()
	s.o.Metrics.sessions.Inc()
	defer s.o.Metrics.sessions.Dec()
	newSession(s, c).run(ctx)
}

// enter counts one more session of an account, unless it has too many.
func (s *Server) enter(account uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[account] >= s.o.SessionsPerUser {
		return false
	}
	s.users[account]++
	return true
}

func (s *Server) leave(account uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[account]--; s.users[account] <= 0 {
		delete(s.users, account)
	}
}
