package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// waiter reads from a socket into a buffer that is taken only when octets are
// there, so that a silent connection holds none. Made once for a connection,
// it allocates nothing for a read.
type waiter struct {
	raw  syscall.RawConn
	get  func() []byte
	put  func([]byte)
	buf  []byte
	n    int
	err  error
	once func(fd uintptr) bool
}

// newWaiter returns nil where the connection is no plain socket.
func newWaiter(nc net.Conn) *waiter {
	t, ok := nc.(*net.TCPConn)
	if !ok || !canWait {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	w := &waiter{raw: raw}
	w.once = w.try
	return w
}

// try is called by the runtime, at once and whenever the socket may have
// octets.
func (w *waiter) try(fd uintptr) bool {
	w.buf = w.get()
	for {
		w.n, w.err = readSocket(fd, w.buf)
		if !errors.Is(w.err, syscall.EINTR) {
			break
		}
	}
	if w.err == nil && w.n > 0 {
		return true
	}
	w.put(w.buf)
	w.buf = nil
	return !errors.Is(w.err, syscall.EAGAIN)
}

// ReadWhenReady reads octets into a buffer that get gives; put takes it back
// while there are none, and on errors. Where the connection is no plain socket
// (TLS, a pipe) ok is false and nothing was done.
func (c *Conn) ReadWhenReady(get func() []byte, put func([]byte)) (buf []byte, n int, err error, ok bool) {
	w := c.wait
	if w == nil || c.secure.Load() != nil {
		return nil, 0, nil, false
	}
	w.get, w.put = get, put
	if err := w.raw.Read(w.once); err != nil {
		return nil, 0, err, true
	}
	buf, n, err = w.buf, w.n, w.err
	w.buf = nil
	switch {
	case err != nil:
		return nil, 0, os.NewSyscallError("read", err), true
	case n == 0:
		return nil, 0, io.EOF, true
	}
	return buf, n, nil, true
}
