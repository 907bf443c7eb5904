package pop3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// session is one POP3 session. It belongs to the goroutine that runs it.
type session struct {
	srv  *Server
	conn Conn
	in   *bufio.Reader
	out  *bufio.Writer
	log  *slog.Logger

	tls  bool
	utf8 bool   // RFC 6856 §2
	user string // of USER, while PASS is awaited
	drop *maildrop
	acct uint64 // whose drop-box is locked, once drop is set

	deleted      []bool // by message number less one; nil while nothing is marked
	deletedCount int
	deletedSize  int64
	totalSize    int64

	strangerCommands, wrongCommands, refusedLogins int
	retrieved                                      int
	refused                                        bool   // the last reply was negative
	over                                           string // why the session ends after this command; "" while it goes on
}

func newSession(ctx context.Context, srv *Server, c Conn) *session {
	s := &session{srv: srv, conn: c}
	s.in = bufio.NewReaderSize(c, readBufferOctets)
	s.out = bufio.NewWriterSize(deadlineWriter{s}, writeBufferOctets)
	_, s.tls = c.ConnectionState()
	s.log = srv.o.Log.With(telemetry.RemoteIP, remoteIP(c).String())
	if named, ok := c.(interface{ ID() string }); ok {
		s.log = s.log.With(telemetry.Conn, named.ID())
	}
	return s
}

// deadlineWriter gives each write to the connection its own time.
type deadlineWriter struct{ s *session }

func (w deadlineWriter) Write(p []byte) (int, error) {
	o := &w.s.srv.o
	if err := w.s.conn.SetWriteDeadline(o.Clock.Now().Add(o.WriteTimeout)); err != nil {
		return 0, err
	}
	return w.s.conn.Write(p)
}

// run is the session from greeting to end.
func (s *session) run(ctx context.Context) {
	began := s.srv.o.Clock.Now()
	defer s.release()
	// A read that waits for the client is ended by a deadline in the past;
	// readLine's callers look at ctx behind each deadline they set.
	stop := context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	s.ok("%s POP3 ready", s.srv.o.Hostname)
	for s.over == "" {
		s.over = s.turn(ctx)
	}
	s.log.Info("session ended", telemetry.Reason, s.over,
		telemetry.Dur, s.srv.o.Clock.Now().Sub(began), telemetry.Count, s.retrieved)
}

// turn reads one command and answers it; it says why the session is to end,
// if it is.
func (s *session) turn(ctx context.Context) (over string) {
	limit := commandOctetsMax
	if s.drop == nil {
		limit = saslOctetsMax // an AUTH with its initial response
	}
	line, err := s.read(ctx, limit)
	if errors.Is(err, errLineTooLong) || err == nil && len(line)+2 > commandOctetsMax && !strings.EqualFold(line[:5], "AUTH ") {
		s.wrong("line too long")
		return s.patience()
	}
	if err != nil {
		return s.lost(ctx, err)
	}
	keyword, args := splitCommand(line)
	s.command(ctx, keyword, args)
	if s.over != "" {
		s.out.Flush()
		return s.over
	}
	return s.patience()
}

// read reads a line from the client. Answers are held back while more
// commands have arrived already (PIPELINING, RFC 2449 §6.6), and sent before
// the session waits.
func (s *session) read(ctx context.Context, octets int) (string, error) {
	if s.in.Buffered() == 0 {
		if err := s.out.Flush(); err != nil {
			return "", err
		}
	}
	o := &s.srv.o
	if err := s.conn.SetReadDeadline(o.Clock.Now().Add(o.IdleTimeout)); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return readLine(s.in, octets)
}

// lost says why no command came. A client that was silent for too long is
// told nothing (RFC 1939 §3); one that the host sends away is.
func (s *session) lost(ctx context.Context, err error) string {
	switch {
	case ctx.Err() != nil:
		s.refuse("SYS/TEMP", "the host is going down, please come back later")
		s.out.Flush()
		return "stopped"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF):
		return "closed"
	}
	s.log.Debug("connection lost", telemetry.Err, err)
	return "lost"
}

// patience ends a session that has used up its mistakes.
func (s *session) patience() string {
	switch {
	case s.wrongCommands >= wrongCommandsMax:
		s.refuse("", "too many wrong commands")
	case s.drop == nil && s.refusedLogins >= refusedLoginsMax:
		s.refuse("", "too many refused logins")
	case s.drop == nil && s.strangerCommands >= strangerCommandsMax:
		s.refuse("", "log in first")
	default:
		return ""
	}
	s.out.Flush()
	return "limit"
}

// release gives the drop-box back, once.
func (s *session) release() {
	if s.drop != nil {
		s.srv.unlock(s.acct)
		s.drop = nil
	}
}

// ok writes a positive reply of one line, or the first of several.
func (s *session) ok(format string, args ...any) {
	s.refused = false
	s.out.WriteString("+OK ")
	fmt.Fprintf(s.out, format, args...)
	s.out.WriteString("\r\n")
}

// refuse writes a negative reply, with a response code (RFC 2449 §8) unless
// it is empty.
func (s *session) refuse(code, text string) {
	s.refused = true
	s.out.WriteString("-ERR ")
	if code != "" {
		s.out.WriteString("[" + code + "] ")
	}
	s.out.WriteString(text + "\r\n")
}

// wrong refuses a command that no client should have sent, and counts it.
func (s *session) wrong(text string) {
	s.wrongCommands++
	s.refuse("", text)
}

// fault tells the client that the host failed, and the log what failed.
func (s *session) fault(cmd string, err error) {
	s.refuse("SYS/TEMP", "local error, please try again later")
	s.log.Error("command failed", telemetry.Cmd, cmd, telemetry.Err, err)
}

// remoteIP is the client's address, zero if the connection has none.
func remoteIP(c Conn) netip.Addr {
	if known, ok := c.(interface{ RemoteIP() netip.Addr }); ok {
		return known.RemoteIP()
	}
	return netip.Addr{}
}

// tellLogin tells whoever wants to know how a login went.
func (s *session) tellLogin(ok bool) {
	if s.srv.o.OnLogin != nil {
		s.srv.o.OnLogin(remoteIP(s.conn), ok)
	}
}
