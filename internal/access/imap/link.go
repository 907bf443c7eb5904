package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// Sizes of a session's buffers. All but parkedBuffer are lent by the server
// while a command is read or answered.
const (
	readBuffer   = 16 << 10 // a whole TLS record
	writeBuffer  = 64 << 10
	flushAt      = 48 << 10 // leaves room for a row of a response
	writeKept    = 256 << 10
	scratchKept  = 32 << 10 // capacity above which a command's buffer is not reused
	parkedBuffer = 64       // what a waiting session reads into: most of a command line
	deflatedRead = 512
)

var (
	errStopping = errors.New("host is stopping")
	errTimeout  = errors.New("client was silent for too long")
	errLongLine = errors.New("line is too long")
)

// pools are the buffers that sessions share.
type pools struct {
	read    sync.Pool // *[readBuffer]byte
	write   sync.Pool // *[]byte
	scratch sync.Pool // *[]byte
	fold    sync.Pool // *folder
}

func newPools() *pools {
	return &pools{
		read:    sync.Pool{New: func() any { return new([readBuffer]byte) }},
		write:   sync.Pool{New: func() any { b := make([]byte, 0, writeBuffer); return &b }},
		scratch: sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }},
		fold:    sync.Pool{New: func() any { return newFolder() }},
	}
}

// link is the connection of a session: buffers that are there only while they
// are needed, deadlines, compression. It belongs to the session's goroutine;
// only its waker is for others.
type link struct {
	conn  net.Conn
	clock sys.Clock
	pools *pools
	wake  *waker

	readWait  time.Duration // how long the client may be silent
	writeWait time.Duration // how long it may take none of what is written
	endBy     time.Time     // no read goes beyond; zero: no such time

	in     []byte // unread, a window of inBuf or of small
	inBuf  *[readBuffer]byte
	small  [parkedBuffer]byte
	parked bool // reads may use small and give inBuf back

	out    []byte // not yet written
	outBuf *[]byte
	err    error // of the first write that failed

	inflate io.Reader // nil: not compressed
	// onChange is called instead of waiting on when the mailbox has changed;
	// nil while changes are of no interest.
	onChange func() error
}

// buffered says whether unread bytes are at hand.
func (l *link) buffered() bool { return len(l.in) > 0 }

// fill reads what the client has sent into the empty in.
func (l *link) fill() error {
	if l.parked {
		l.returnInput()
		n, err := l.read(l.small[:])
		l.in = l.small[:n]
		l.parked = l.parked && n == 0
		return err
	}
	if l.inBuf == nil {
		l.inBuf = l.pools.read.Get().(*[readBuffer]byte)
	}
	n, err := l.read(l.inBuf[:])
	l.in = l.inBuf[:n]
	return err
}

func (l *link) returnInput() {
	if l.inBuf != nil {
		l.pools.read.Put(l.inBuf)
		l.inBuf = nil
	}
}

// read reads at least one byte, or says why there is none.
func (l *link) read(p []byte) (int, error) {
	if l.inflate == nil {
		return l.readRaw(p)
	}
	n, err := l.inflate.Read(p)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// readRaw reads from the connection. Everything written so far goes out
// before it waits. The waker may end the wait; a change then leads to
// onChange, and the wait goes on with the time that is left.
func (l *link) readRaw(p []byte) (int, error) {
	until := l.clock.Now().Add(l.readWait)
	if !l.endBy.IsZero() && l.endBy.Before(until) {
		until = l.endBy
	}
	for {
		if err := l.flush(); err != nil {
			return 0, err
		}
		if l.parked {
			l.returnOutput()
		}
		why, err := l.wake.arm(until, l.onChange != nil)
		if err != nil {
			return 0, fmt.Errorf("set deadline: %w", err)
		}
		n := 0
		if why == reasonNone {
			n, err = l.conn.Read(p)
			why = l.wake.disarm()
		}
		if n > 0 {
			if why == reasonChange {
				l.wake.change() // for the next wait
			}
			return n, nil
		}
		switch {
		case why == reasonStop:
			return 0, errStopping
		case why == reasonChange:
			if err := l.onChange(); err != nil {
				return 0, err
			}
		case isTimeout(err):
			return 0, errTimeout
		case err != nil:
			return 0, err
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// readLine appends the next line with its LF to dst, which grows by at most
// limit bytes: errLongLine after that, with the rest of the line unread.
func (l *link) readLine(dst []byte, limit int) ([]byte, error) {
	for {
		if len(l.in) == 0 {
			if err := l.fill(); err != nil {
				return dst, err
			}
		}
		i := bytes.IndexByte(l.in, '\n') + 1
		if i == 0 {
			i = len(l.in)
		}
		if i > limit {
			return dst, errLongLine
		}
		dst = append(dst, l.in[:i]...)
		l.in = l.in[i:]
		limit -= i
		if dst[len(dst)-1] == '\n' {
			return dst, nil
		}
	}
}

// skipLine throws away the rest of a line, which may be limit bytes long.
func (l *link) skipLine(limit int) error {
	for {
		if len(l.in) == 0 {
			if err := l.fill(); err != nil {
				return err
			}
		}
		i := bytes.IndexByte(l.in, '\n') + 1
		if i > 0 {
			l.in = l.in[i:]
			return nil
		}
		if limit -= len(l.in); limit < 0 {
			return errLongLine
		}
		l.in = nil
	}
}

// readN gives n bytes to sink, in the pieces in which they come. An error of
// sink does not stop the reading: the bytes are the client's, and what comes
// after them must be found.
func (l *link) readN(n int64, sink func([]byte) error) (sinkErr, err error) {
	for n > 0 {
		if len(l.in) == 0 {
			if err := l.fill(); err != nil {
				return sinkErr, err
			}
		}
		piece := l.in
		if int64(len(piece)) > n {
			piece = piece[:n]
		}
		if sinkErr == nil && sink != nil {
			sinkErr = sink(piece)
		}
		l.in = l.in[len(piece):]
		n -= int64(len(piece))
	}
	return sinkErr, nil
}

// buf gives the output buffer to append to; the caller gives it back with
// put, which writes when there is enough.
func (l *link) buf() []byte {
	if l.outBuf == nil {
		l.outBuf = l.pools.write.Get().(*[]byte)
		l.out = (*l.outBuf)[:0]
	}
	return l.out
}

func (l *link) put(b []byte) error {
	l.out = b
	if len(b) >= flushAt {
		return l.flush()
	}
	return l.err
}

// flush writes what has been appended. Its first error stays.
func (l *link) flush() error {
	if len(l.out) == 0 || l.err != nil {
		return l.err
	}
	err := l.wake.armWrite(l.clock.Now().Add(l.writeWait))
	if err == nil {
		if l.inflate != nil {
			err = flate.StatelessDeflate(l.conn, l.out, false, nil)
		} else {
			_, err = l.conn.Write(l.out)
		}
	}
	l.out = l.out[:0]
	if err != nil {
		l.err = fmt.Errorf("write to client: %w", err)
	}
	return l.err
}

func (l *link) returnOutput() {
	if l.outBuf == nil {
		return
	}
	if cap(l.out) <= writeKept {
		*l.outBuf = l.out[:0]
		l.pools.write.Put(l.outBuf)
	}
	l.outBuf, l.out = nil, nil
}

// release gives all buffers back.
func (l *link) release() {
	l.returnInput()
	l.returnOutput()
}

// compress turns compression on in both directions (RFC 4978). What has been
// appended goes out before it without. Writing keeps no state between flushes,
// so that an idle session holds no compressor (some hundred KB); reading needs
// the client's window, 32 KB and the tables.
func (l *link) compress() error {
	if err := l.flush(); err != nil {
		return err
	}
	src := &inflateSource{link: l, early: bytes.Clone(l.in)}
	l.in = nil
	l.inflate = newInflater(src)
	return nil
}

// inflateSource gives the inflater its bytes: it reads through the link's
// waker, so that the inflater, whose errors stick, never sees a wake.
type inflateSource struct {
	link  *link
	early []byte // came before compression was on
	buf   [deflatedRead]byte
	in    []byte
}

func (s *inflateSource) fill() error {
	if len(s.early) > 0 {
		s.in, s.early = s.early, nil
		return nil
	}
	n, err := s.link.readRaw(s.buf[:])
	s.in = s.buf[:n]
	return err
}

// ReadByte implements io.ByteReader, which lets the inflater read no further
// than it needs.
func (s *inflateSource) ReadByte() (byte, error) {
	if len(s.in) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	c := s.in[0]
	s.in = s.in[1:]
	return c, nil
}

// Buffered gives the number of bytes that ReadByte has at hand.
func (s *inflateSource) Buffered() int { return len(s.in) }
