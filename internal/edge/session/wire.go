package session

import (
	"errors"
	"io"
	"os"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// flush sends the replies that have gathered, in one write. It reports
// whether the connection is still good.
func (n *session) flush() bool {
	if len(n.out) == 0 {
		return true
	}
	n.countReplies()
	n.logReplies()
	err := n.c.SetWriteDeadline(n.s.o.Clock.Now().Add(n.s.o.Write))
	if err == nil {
		_, err = n.c.Write(n.out)
	}
	n.out = n.out[:0]
	n.owed = false
	if err != nil {
		n.ending, n.endErr = "write", err
		return false
	}
	return true
}

// countReplies counts the replies in out: each has one line whose fourth
// octet is no hyphen.
func (n *session) countReplies() {
	start := true
	for i, c := range n.out {
		if start && i+3 < len(n.out) && n.out[i+3] == ' ' {
			if class := c - '0'; class >= 2 && class <= 5 {
				n.metrics.replies[class].Inc()
			}
		}
		start = c == '\n'
	}
}

// read waits for octets, until the machine's deadline. It returns what
// happened; ok is false when the connection has ended.
func (n *session) read() (ev smtp.Event, ok bool) {
	n.release()
	due := n.d.Due()
	if n.told && (due.IsZero() || n.until.Before(due)) {
		due = n.until
	}
	err := n.c.SetReadDeadline(due)
	if !n.told && n.stop.Load() {
		return n.shutdown(), true
	}
	if err == nil {
		err = n.fill()
	}
	switch {
	case err == nil:
		return smtp.Event{Kind: smtp.EventInput, Data: n.in}, true
	case errors.Is(err, os.ErrDeadlineExceeded) && !n.told && n.stop.Load():
		return n.shutdown(), true
	case errors.Is(err, os.ErrDeadlineExceeded):
		n.metrics.timeouts.Inc()
		n.ending = "timeout"
		return smtp.Event{Kind: smtp.EventTimeout}, true
	case errors.Is(err, io.EOF):
		n.ending = "left"
	default:
		n.ending, n.endErr = "read", err
	}
	return ev, false
}

// shutdown tells the machine that the host is stopping.
func (n *session) shutdown() smtp.Event {
	n.told = true
	n.until = n.s.o.Clock.Now().Add(n.s.o.Grace)
	n.ending = "shutdown"
	return smtp.Event{Kind: smtp.EventShutdown}
}

// fill reads into n.in. While nothing arrives a plain socket has no buffer;
// other connections have a small one, unless much is expected.
func (n *session) fill() error {
	buf, size, err, ok := n.c.ReadWhenReady(n.get, n.put)
	if ok {
		n.in = buf[:size]
		return err
	}
	buf = n.small[:]
	if n.more || n.d.InBody() {
		buf = n.get()
	}
	size, err = n.c.Read(buf)
	n.more = size == len(n.small)
	n.in = buf[:size]
	if size > 0 {
		return nil // an error comes again
	}
	return err
}

// release gives the read buffer back.
func (n *session) release() {
	n.in = nil
	if n.big != nil {
		n.put(nil)
	}
}

// close ends the conversation: the last reply is sent, and, if the client may
// still be sending, given time to arrive.
func (n *session) close() {
	if n.ending == "" {
		n.ending = "closed"
	}
	n.giveUp()
	quit := n.d.LastCode() == 221
	if quit {
		n.ending = "quit"
	}
	if !n.flush() || quit && len(n.in) == 0 {
		return
	}
	n.linger()
}

// linger reads what the client is still sending, within limits.
func (n *session) linger() {
	if n.c.CloseWrite() != nil || n.c.SetReadDeadline(n.s.o.Clock.Now().Add(lingerMax)) != nil {
		return
	}
	n.release()
	buf := n.get()
	defer n.put(buf)
	for left := lingerOctetsMax; left > 0; {
		size, err := n.c.Read(buf)
		if err != nil {
			return
		}
		left -= size
	}
}
