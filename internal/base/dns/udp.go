package dns

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// batchMax is how many packets one call of the system sends or receives.
	batchMax = 32
	// receiveOctetsMax of a packet: what was offered to the servers, and some
	// for those who do not keep to it.
	receiveOctetsMax = 1500
	// bufferOctets are asked for as the receive buffer of a socket; the kernel
	// gives what it may.
	bufferOctets = 1 << 20
	// writeErrorsMax is how many errors of a socket are taken in one batch,
	// each of which may be the echo of an earlier packet.
	writeErrorsMax = 4
	// dialPause is between attempts to open a socket where there is no way to
	// the server.
	dialPause = time.Second
	// errorPause is after an error of a read that says nothing of the server.
	errorPause = 10 * time.Millisecond
)

// batcher reads and writes several packets with one call.
type batcher interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// socket is connected to a server, from a port of the kernel's choice, which
// is random. Nobody else's packets reach it.
type socket struct {
	server netip.AddrPort

	mu     sync.Mutex
	conn   *net.UDPConn // guarded by mu; nil if there is none
	batch  batcher      // guarded by mu; of conn
	closed bool         // guarded by mu
}

func newSocket(server netip.AddrPort) *socket { return &socket{server: server} }

// dial opens a new connection.
func (s *socket) dial() error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.server))
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(bufferOctets)
	var b batcher = ipv4.NewPacketConn(conn)
	if s.server.Addr().Unmap().Is6() {
		b = ipv6.NewPacketConn(conn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return net.ErrClosed
	}
	s.conn, s.batch = conn, b
	return nil
}

func (s *socket) get() batcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batch
}

// drop closes the connection; the goroutine that reads it opens a new one.
func (s *socket) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn, s.batch = nil, nil
	}
}

func (s *socket) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.drop()
}

// receive reads a socket until the client is closed.
func (c *Client) receive(i int) {
	s := c.sockets[i]
	r := newReader(c, i)
	for {
		b := s.get()
		if b == nil {
			switch err := s.dial(); {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil && !c.pause(dialPause):
				return
			}
			continue
		}
		for r.read(b) {
		}
		s.drop()
	}
}

// pause waits; false says that the client is closed.
func (c *Client) pause(d time.Duration) bool {
	select {
	case <-c.closing:
		return false
	case <-c.o.Clock.After(d):
		return true
	}
}

// reader holds the buffers of a goroutine that reads.
type reader struct {
	c        *Client
	socket   int
	messages []ipv4.Message
	calls    []call
}

func newReader(c *Client, socket int) *reader {
	r := &reader{c: c, socket: socket, messages: make([]ipv4.Message, batchMax)}
	memory := make([]byte, batchMax*receiveOctetsMax)
	for i := range r.messages {
		r.messages[i].Buffers = [][]byte{memory[i*receiveOctetsMax:][:receiveOctetsMax]}
	}
	return r
}

// read takes what is there; false ends the connection.
func (r *reader) read(b batcher) bool {
	n, err := b.ReadBatch(r.messages, 0)
	c := r.c
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	now := c.o.Clock.Now()
	c.mu.Lock()
	quiet := c.m.out.empty()
	// The callers are called from here, the rest is left to the pump. What
	// others want called waits there.
	others := c.m.out.calls
	c.m.out.calls = r.calls[:0]
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		c.m.refused(r.socket, now)
	case err == nil && !c.m.closed:
		for i := range n {
			m := &r.messages[i]
			c.m.packet(r.socket, m.Buffers[0][:m.N], now)
		}
	}
	r.calls, c.m.out.calls = c.m.out.calls, others
	rouse := quiet && !c.m.out.empty()
	c.mu.Unlock()
	if rouse {
		c.rouse()
	}
	for i := range r.calls {
		r.calls[i].done(r.calls[i].answer)
	}
	clear(r.calls)
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		return c.pause(errorPause)
	}
	return true
}

// writer holds the buffers of the pump.
type writer struct {
	c       *Client
	batches [][]ipv4.Message // by socket
	buffers [][][]byte       // of the messages
}

func newWriter(c *Client) *writer {
	return &writer{c: c, batches: make([][]ipv4.Message, len(c.sockets)), buffers: make([][][]byte, len(c.sockets))}
}

// send sends the packets of an output, those of a socket with as few calls as
// may be. What cannot be sent is lost, as on the way: its time will end.
func (w *writer) send(out *output) {
	for _, s := range out.sends {
		i := int(s.socket)
		n := len(w.batches[i])
		if n == len(w.buffers[i]) {
			w.buffers[i] = append(w.buffers[i], nil)
		}
		w.buffers[i][n] = out.packets[s.from:s.to]
		w.batches[i] = append(w.batches[i], ipv4.Message{})
	}
	for i := range w.batches {
		if ms := w.batches[i]; len(ms) > 0 {
			for n := range ms {
				ms[n].Buffers = w.buffers[i][n : n+1]
			}
			w.write(i, ms)
			w.batches[i] = ms[:0]
		}
	}
}

func (w *writer) write(socket int, ms []ipv4.Message) {
	b := w.c.sockets[socket].get()
	for errs := 0; b != nil && len(ms) > 0 && errs < writeErrorsMax; {
		n, err := b.WriteBatch(ms[:min(len(ms), batchMax)], 0)
		if err != nil {
			errs++
			if errors.Is(err, syscall.ECONNREFUSED) {
				w.c.refused(socket)
			}
			continue
		}
		ms = ms[n:]
	}
}

// refused tells the machine that a packet was refused.
func (c *Client) refused(socket int) {
	now := c.o.Clock.Now()
	c.mu.Lock()
	c.m.refused(socket, now)
	c.mu.Unlock()
	c.rouse()
}
