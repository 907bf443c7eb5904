package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// ErrNoTLS is returned by StartTLS where the listener has no certificate or
// TLS is on already.
var ErrNoTLS = errors.New("TLS is not to be had")

// Conn is one connection with what is known of it. Reads and writes go
// through TLS once it is on.
type Conn struct {
	net.Conn          // the TLS connection once it is on
	raw      net.Conn // the socket
	id       string
	remote   netip.AddrPort
	config   *tls.Config
	secure   atomic.Pointer[tls.Conn]
	counters *counters // nil: nothing is counted
	wait     *waiter   // of a socket that can be waited for; nil otherwise
}

// counters are the listener's metrics, its label resolved.
type counters struct{ handshakeOK, handshakeFailed func() }

// Facts are what [NewConn] is told of a connection.
type Facts struct {
	ID     string
	Remote netip.AddrPort // of the client; taken from the connection if invalid
	TLS    *tls.Config    // nil: StartTLS fails
}

// NewConn makes a Conn of any connection: of one that was not accepted here,
// such as one handed over, or of a pipe in a test.
func NewConn(nc net.Conn, f Facts) *Conn {
	if !f.Remote.IsValid() {
		f.Remote = addrPort(nc.RemoteAddr())
	}
	return &Conn{Conn: nc, raw: nc, id: f.ID, remote: f.Remote, config: f.TLS, wait: newWaiter(nc)}
}

// ID returns the connection's id, unique within the host's life and most
// likely for ever: 13 letters and digits.
func (c *Conn) ID() string { return c.id }

// RemoteIP returns the client's address, behind a trusted proxy that which it
// named; the zero Addr if the connection has none.
func (c *Conn) RemoteIP() netip.Addr { return c.remote.Addr() }

// RemoteAddr returns the client's address and port.
func (c *Conn) RemoteAddr() net.Addr {
	if !c.remote.IsValid() {
		return c.raw.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(c.remote)
}

// StartTLS does the server's side of a TLS handshake; ctx bounds its time.
// What was read before must be thrown away by the caller. After an error the
// connection is of no use.
func (c *Conn) StartTLS(ctx context.Context) error {
	if c.config == nil || c.secure.Load() != nil {
		return ErrNoTLS
	}
	s := tls.Server(c.raw, c.config)
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	if err := s.HandshakeContext(ctx); err != nil {
		if c.counters != nil {
			c.counters.handshakeFailed()
		}
		return fmt.Errorf("TLS handshake: %w", err)
	}
	if c.counters != nil {
		c.counters.handshakeOK()
	}
	c.Conn = s
	c.secure.Store(s)
	return nil
}

// ConnectionState returns the state of TLS and whether it is on.
func (c *Conn) ConnectionState() (tls.ConnectionState, bool) {
	s := c.secure.Load()
	if s == nil {
		return tls.ConnectionState{}, false
	}
	return s.ConnectionState(), true
}

// CanTLS reports whether StartTLS may be called.
func (c *Conn) CanTLS() bool { return c.config != nil && c.secure.Load() == nil }

// SetDeadline sets both deadlines of the socket.
func (c *Conn) SetDeadline(t time.Time) error { return c.raw.SetDeadline(t) }

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of writes. After a write under TLS has
// timed out, all further ones fail.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }

// CloseWrite says that nothing more will be written and leaves reading as it
// is; errors.ErrUnsupported where the connection has no such thing.
func (c *Conn) CloseWrite() error {
	if s := c.secure.Load(); s != nil {
		if err := s.CloseWrite(); err != nil {
			return fmt.Errorf("close TLS: %w", err)
		}
	}
	if h, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// addrPort is the address of a socket, its zero value of anything else.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
