package imap

import (
	"sync"
	"time"
)

// deadlines is what a waker needs of a connection.
type deadlines interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// reason says why a read that would wait must not.
type reason uint8

const (
	reasonNone   reason = iota
	reasonStop          // the host is stopping
	reasonChange        // the mailbox has changed
)

// stopGrace is how long a session that is told to stop may still write.
const stopGrace = 2 * time.Second

// waker ends the one blocking read of a session from other goroutines, by a
// read deadline in the past: crypto/tls goes on after a read that timed out,
// so a session needs no second goroutine. Reads whose connection is not waiting
// are told by the next arm.
type waker struct {
	conn deadlines

	mu      sync.Mutex
	waiting bool // a read that changes may end is waiting; guarded by mu
	changed bool // guarded by mu
	stopped bool // guarded by mu
}

// longAgo is a deadline in the past.
func longAgo() time.Time { return time.Unix(1, 0) }

// change tells that the mailbox has changed. It does not block.
func (w *waker) change() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting && !w.changed {
		w.conn.SetReadDeadline(longAgo())
	}
	w.changed = true
}

// stop tells that the session is to end. Reads end at once, writes may go on
// for stopGrace after now.
func (w *waker) stop(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.conn.SetReadDeadline(longAgo())
	w.conn.SetWriteDeadline(now.Add(stopGrace))
}

// arm sets the deadline of the read that follows; with changes it may be
// ended by a change. A reason says that the read must not be tried.
func (w *waker) arm(until time.Time, changes bool) (reason, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return reasonStop, nil
	}
	if changes && w.changed {
		w.changed = false
		return reasonChange, nil
	}
	w.waiting = changes
	return reasonNone, w.conn.SetReadDeadline(until)
}

// disarm tells that the read is over and says what ended it, if it was not
// the client or its time.
func (w *waker) disarm() reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := w.waiting
	w.waiting = false
	switch {
	case w.stopped:
		return reasonStop
	case changes && w.changed:
		w.changed = false
		return reasonChange
	}
	return reasonNone
}

// armWrite sets the deadline of the write that follows.
func (w *waker) armWrite(until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil // it has its last one
	}
	return w.conn.SetWriteDeadline(until)
}

// stopping says whether stop was called.
func (w *waker) stopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped
}
