package imap

import (
	"context"
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// errAnswered says that a command was answered while it was read.
var errAnswered = errors.New("command was answered")

// stallWait is how long a client may be silent in the middle of a command.
const stallWait = 5 * time.Minute

// await waits for the next bytes of the client. The session holds no buffers
// meanwhile.
func (s *session) await() error {
	if !s.link.buffered() {
		s.returnCommand()
		s.link.parked = true
		err := s.link.fill()
		s.link.parked = false
		if err != nil {
			return err
		}
	}
	if s.cmdBuf == nil {
		s.cmdBuf = s.srv.pools.scratch.Get().(*[]byte)
	}
	s.cmd = (*s.cmdBuf)[:0]
	return nil
}

// returnCommand gives the command's buffer back.
func (s *session) returnCommand() {
	if s.cmdBuf == nil {
		return
	}
	if cap(s.cmd) <= scratchKept {
		*s.cmdBuf = s.cmd[:0]
		s.srv.pools.scratch.Put(s.cmdBuf)
	}
	s.cmdBuf, s.cmd = nil, nil
}

// readCommand reads one whole command with its literals. An APPEND, whose
// messages are streamed, is executed here, since its text comes in pieces;
// that and what is refused while it is read is errAnswered. Other errors end
// the session.
func (s *session) readCommand(ctx context.Context) ([]byte, error) {
	if err := s.await(); err != nil {
		return nil, err
	}
	if s.loggedIn {
		s.link.readWait = stallWait
		defer func() { s.link.readWait = s.srv.o.IdleTimeout }()
	}
	text, size, most := lineMax, literalMax, literalsMax
	if !s.loggedIn {
		text, size, most = strangerLineMax, strangerLiteralMax, 2*strangerLiteralMax
	}
	for {
		start := len(s.cmd)
		if err := s.readText(text); err != nil {
			return nil, err
		}
		text -= len(s.cmd) - start
		lit, announced := wire.ParseLiteral(s.cmd[start:])
		if !announced {
			return s.cmd, nil
		}
		if s.loggedIn {
			head, msg, err := command.ParseAppend(s.cmd)
			if !errors.Is(err, command.ErrNotAppend) {
				return nil, s.appendCommand(ctx, head, msg, lit, err)
			}
		}
		if lit.Size > int64(min(size, most)) {
			return nil, s.refuseLiteral(s.readTag(), lit, no("TOOBIG", "Literal is too large"))
		}
		most -= int(lit.Size)
		if err := s.readLiteral(lit); err != nil {
			return nil, err
		}
	}
}

// readText reads a line of a command into s.cmd. One that is too long is
// thrown away and answered.
func (s *session) readText(limit int) error {
	var err error
	s.cmd, err = s.link.readLine(s.cmd, limit)
	if !errors.Is(err, errLongLine) {
		return err
	}
	if err := s.link.skipLine(skipMax); err != nil {
		return err
	}
	s.link.put(tagged(s.link.buf(), s.readTag(), answer{status: statusBAD, code: "TOOBIG", text: "Command is too long"}))
	s.count(statusBAD)
	return errAnswered
}

// readTag gives the tag of the command that is being read.
func (s *session) readTag() string {
	if tag := wire.NewScanner(s.cmd).Tag(); tag != "" {
		return tag
	}
	return "*"
}

// readLiteral reads a literal into s.cmd, behind its announcement.
func (s *session) readLiteral(lit wire.Literal) error {
	s.ask(lit)
	_, err := s.link.readN(lit.Size, func(b []byte) error {
		s.cmd = append(s.cmd, b...)
		return nil
	})
	return err
}

// ask tells the client to send a synchronising literal.
func (s *session) ask(lit wire.Literal) {
	if !lit.Plus {
		s.link.put(append(s.link.buf(), "+ Ready for literal data\r\n"...))
	}
}

// refuseLiteral answers a command whose literal is not wanted. A client that
// waits to be asked is simply not asked, and its command is over; one that does
// not wait has sent the literal or is sending it: RFC 7888 §4 leaves closing
// the connection as the only way not to read it.
func (s *session) refuseLiteral(tag string, lit wire.Literal, a answer) error {
	if lit.Plus {
		a.status = statusBAD
	}
	s.link.put(tagged(s.link.buf(), tag, a))
	s.count(a.status)
	if lit.Plus && s.over == "" {
		s.end("limit", "TOOBIG", "Literal is too large")
	}
	return errAnswered
}
