package sim

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// wire is a connection whose incoming bytes are gathered, so that the server
// never waits for the player to read. It is a net.Conn itself: what a Wrap is
// put around.
type wire struct {
	conn net.Conn
	mu   sync.Mutex
	cond sync.Cond // on mu
	buf  []byte    // guarded by mu: said and not yet taken
	err  error     // guarded by mu: why nothing more will come
}

func newWire(c net.Conn) *wire {
	w := &wire{conn: c}
	w.cond.L = &w.mu
	go func() {
		b := make([]byte, 32<<10)
		for {
			n, err := c.Read(b)
			w.feed(b[:n], err)
			if err != nil {
				return
			}
		}
	}()
	return w
}

func (w *wire) feed(b []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, b...)
	w.err = err
	w.cond.Broadcast()
}

// nextLine gives the length of the first line, 0 if there is no whole one.
func nextLine(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	if len(b) >= lineMax {
		return len(b)
	}
	return 0
}

// lineOrRest is nextLine that is content with an unfinished line.
func lineOrRest(b []byte) int {
	if n := nextLine(b); n > 0 {
		return n
	}
	return len(b)
}

func nextBytes(b []byte, n int) int {
	if len(b) < n {
		return 0
	}
	return n
}

// take takes what cut wants, if it is there.
func (w *wire) take(cut func([]byte) int) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.takeLocked(cut)
}

func (w *wire) takeLocked(cut func([]byte) int) (string, bool) {
	n := cut(w.buf)
	if n == 0 {
		return "", false
	}
	s := string(w.buf[:n])
	w.buf = w.buf[n:]
	return s, true
}

// await is take that waits up to patience, or until nothing more can come.
func (w *wire) await(cut func([]byte) int, patience time.Duration) (string, bool) {
	late := false
	t := time.AfterFunc(patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		late = true
		w.cond.Broadcast()
	})
	defer t.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		s, ok := w.takeLocked(cut)
		if ok || late || w.err != nil {
			return s, ok
		}
		w.cond.Wait()
	}
}

func (w *wire) closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil && len(w.buf) == 0
}

// Read is net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) == 0 {
		if w.err != nil {
			return 0, io.EOF
		}
		w.cond.Wait()
	}
	n := copy(p, w.buf)
	w.buf = w.buf[n:]
	return n, nil
}

// Write is net.Conn.
func (w *wire) Write(p []byte) (int, error) { return w.conn.Write(p) }

// Close is net.Conn.
func (w *wire) Close() error { return w.conn.Close() }

// LocalAddr is net.Conn.
func (w *wire) LocalAddr() net.Addr { return w.conn.LocalAddr() }

// RemoteAddr is net.Conn.
func (w *wire) RemoteAddr() net.Addr { return w.conn.RemoteAddr() }

// SetDeadline is net.Conn; it concerns writes only.
func (w *wire) SetDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }

// SetReadDeadline is net.Conn; reads have none.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is net.Conn.
func (w *wire) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }
