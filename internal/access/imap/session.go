package imap

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// session is one IMAP session. It belongs to the goroutine that runs it, its
// waker excepted.
type session struct {
	srv  *Server
	conn Conn
	link link
	wake waker
	log  *slog.Logger

	cmd    []byte  // the command that is read or executed
	cmdBuf *[]byte // its buffer, lent by the server

	secure   bool // under TLS
	loggedIn bool
	id       sasl.Identity
	box      *box // the selected mailbox; nil while none is

	rev2      bool // ENABLE IMAP4rev2
	utf8      bool // names and strings may be UTF-8: rev2 or UTF8=ACCEPT
	condStore bool
	qresync   bool

	badRow    int // BADs since the last command that was none
	commands  int
	strangers int // commands before the login
	failures  int // logins refused
	over      string
}

func newSession(srv *Server, c Conn) *session {
	s := &session{srv: srv, conn: c}
	s.wake.conn = c
	s.link = link{
		conn: c, clock: srv.o.Clock, pools: srv.pools, wake: &s.wake,
		readWait: srv.o.LoginTimeout, writeWait: srv.o.WriteTimeout,
		endBy: srv.o.Clock.Now().Add(srv.o.LoginTimeout),
	}
	_, s.secure = c.ConnectionState()
	s.log = srv.o.Log.With(telemetry.RemoteIP, remoteIP(c).String())
	if named, ok := c.(interface{ ID() string }); ok {
		s.log = s.log.With(telemetry.Conn, named.ID())
	}
	return s
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

// run is the session from greeting to end.
func (s *session) run(ctx context.Context) {
	began := s.srv.o.Clock.Now()
	stop := context.AfterFunc(ctx, func() { s.wake.stop(s.srv.o.Clock.Now()) })
	defer stop()
	defer s.release()

	greeting := okCode(s.capabilities(), s.srv.o.Hostname+" Breakwater ready")
	s.link.put(untagged(s.link.buf(), greeting))
	for s.over == "" {
		s.turn(ctx)
	}
	s.link.flush()
	s.log.Info("imap session ended", telemetry.Reason, s.over,
		telemetry.Dur, s.srv.o.Clock.Now().Sub(began), telemetry.Count, s.commands)
}

// release gives back what the session holds.
func (s *session) release() {
	s.leaveBox()
	if s.loggedIn {
		s.srv.leave(s.id.Account)
	}
	s.returnCommand()
	s.link.release()
}

// turn reads one command and answers it.
func (s *session) turn(ctx context.Context) {
	b, err := s.readCommand(ctx)
	switch {
	case errors.Is(err, errAnswered):
		return
	case err != nil:
		s.lost(err)
		return
	}
	c, err := command.Parse(b)
	if err != nil {
		s.misunderstood(c.Tag, b, err)
		return
	}
	if c.Verb == command.Idle && s.loggedIn {
		// Not by way of execute, whose frames are large: a session may idle
		// for days, and a stack that is not deep shrinks.
		s.answer(ctx, c.Tag, "IDLE", true, s.idle(ctx))
		return
	}
	s.execute(ctx, c)
}

// execute does what a command says and answers it.
func (s *session) execute(ctx context.Context, c command.Command) {
	began := s.srv.o.Clock.Now()
	a := s.do(ctx, c)
	s.answer(ctx, c.Tag, c.Verb.Name(), mayExpunge(c.Verb), a)
	s.srv.o.Metrics.seconds.WithLabelValues(c.Verb.Name()).Observe(s.srv.o.Clock.Now().Sub(began).Seconds())
}

// answer ends a command: the notices that are due, then the tagged response.
func (s *session) answer(ctx context.Context, tag, name string, expunges bool, a answer) {
	if s.link.err != nil {
		s.lost(s.link.err)
		return
	}
	if a.status == "" { // answered already
		s.count(statusOK)
		return
	}
	if s.box != nil && !a.quiet {
		if err := s.notify(ctx, expunges); err != nil {
			s.log.Warn("changes are not told", telemetry.Cmd, name, telemetry.Err, err)
		}
	}
	s.link.put(tagged(s.link.buf(), tag, a))
	s.srv.o.Metrics.commands.WithLabelValues(name, string(a.status)).Inc()
	s.log.Debug("imap command", telemetry.Cmd, name, telemetry.Reply, string(a.status))
	s.count(a.status)
}

// count ends sessions that only make mistakes, or never log in.
func (s *session) count(st status) {
	s.commands++
	s.badRow++
	if st != statusBAD {
		s.badRow = 0
	}
	if !s.loggedIn {
		s.strangers++
	}
	switch {
	case s.over != "":
	case s.badRow >= badMax:
		s.end("limit", "", "Too many bad commands")
	case !s.loggedIn && s.failures >= loginFailuresMax:
		s.end("limit", "", "Too many failed logins")
	case !s.loggedIn && s.strangers >= strangerCommandsMax:
		s.end("limit", "", "Too many commands without a login")
	case s.box != nil && s.box.mb.Deleted():
		s.end("deleted", "", "Selected mailbox was deleted")
	}
}

// end says BYE.
func (s *session) end(why, code, text string) {
	s.over = why
	s.link.put(bye(s.link.buf(), code, text))
}

// misunderstood answers a command that is none.
func (s *session) misunderstood(tag string, b []byte, err error) {
	if tag == "" {
		tag = "*"
	}
	a := bad("Cannot parse the command: " + err.Error())
	if errors.Is(err, command.ErrUnknown) {
		a = bad("Unknown command")
	}
	if _, _, aerr := command.ParseAppend(b); !errors.Is(aerr, command.ErrNotAppend) {
		// An APPEND whose message was announced does not come here.
		a = bad("APPEND needs its message as a literal")
		if !s.loggedIn {
			a = bad("Log in first")
		}
	}
	s.link.put(tagged(s.link.buf(), tag, a))
	s.srv.o.Metrics.commands.WithLabelValues("unknown", string(statusBAD)).Inc()
	s.count(statusBAD)
}

// lost says why no command came.
func (s *session) lost(err error) {
	switch {
	case errors.Is(err, errStopping), s.wake.stopping():
		s.end("stopped", "", "Server is shutting down, please come back later")
	case errors.Is(err, errTimeout) && !s.loggedIn:
		s.end("timeout", "", "Took too long to log in")
	case errors.Is(err, errTimeout):
		s.end("timeout", "", "Autologout: idle for too long")
	case errors.Is(err, errLongLine):
		s.end("limit", "", "Line is far too long")
	case errors.Is(err, io.EOF):
		s.over = "closed"
	default:
		s.over = "lost"
		s.log.Debug("imap connection lost", telemetry.Err, err)
	}
}

// mayExpunge says whether messages may be told to be gone at the end of a
// command: not of one that names them by sequence number and leaves them in
// place (RFC 9051 §7.5.1).
func mayExpunge(v command.Verb) bool {
	switch v := v.(type) {
	case command.Fetch:
		return v.UID
	case command.Store:
		return v.UID
	case command.Search:
		return v.UID
	}
	return true
}

// do is the table of commands.
func (s *session) do(ctx context.Context, c command.Command) answer {
	switch v := c.Verb.(type) {
	case command.Simple:
		return s.simple(ctx, c.Tag, v)
	case command.ID:
		return s.clientID(v)
	case command.Authenticate:
		return s.authenticate(ctx, v)
	case command.Login:
		return s.login(ctx, v)
	}
	if !s.loggedIn {
		return bad("Log in first")
	}
	switch v := c.Verb.(type) {
	case command.Enable:
		return s.enable(v)
	case command.Compress:
		return s.compress(c.Tag, v)
	case command.Select:
		return s.selectBox(ctx, v)
	case command.Create:
		return s.create(ctx, v)
	case command.Delete:
		return s.delete(ctx, v)
	case command.Rename:
		return s.rename(ctx, v)
	case command.Subscribe:
		return s.subscribe(ctx, v)
	case command.List:
		return s.list(ctx, v)
	case command.Lsub:
		return s.lsub(ctx, v)
	case command.Status:
		return s.status(ctx, v)
	}
	if s.box == nil {
		return bad("Select a mailbox first")
	}
	switch v := c.Verb.(type) {
	case command.Search:
		return s.search(ctx, c.Tag, v)
	case command.Fetch:
		return s.fetch(ctx, v)
	case command.Store:
		return s.store(ctx, v)
	case command.Copy:
		return s.copy(ctx, v)
	case command.UIDExpunge:
		return s.uidExpunge(ctx, v)
	}
	return bad("Unknown command")
}

// simple is the table of commands without arguments.
func (s *session) simple(ctx context.Context, tag string, v command.Simple) answer {
	switch v {
	case command.Capability:
		return s.capability()
	case command.Noop:
		return ok("NOOP completed")
	case command.Logout:
		return s.logout()
	case command.StartTLS:
		return s.startTLS(ctx, tag)
	}
	if !s.loggedIn {
		return bad("Log in first")
	}
	if v == command.Namespace {
		return s.namespace()
	}
	if s.box == nil {
		return bad("Select a mailbox first")
	}
	switch v {
	case command.Check:
		return ok("CHECK completed") // nothing is held back that could be written
	case command.Close:
		return s.close(ctx)
	case command.Unselect:
		return s.unselect()
	case command.Expunge:
		return s.expunge(ctx)
	}
	return bad("Unknown command")
}

// account is whose session it is.
func (s *session) account() account.ID { return account.ID(s.id.Account) }

// changeCtx bounds a change: it is not cut off by the end of the host, which
// waits for it, but by its own time.
func changeCtx(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), commandWait)
}

// pause waits for d, or for the end of the host.
func (s *session) pause(ctx context.Context, d time.Duration) {
	select {
	case <-s.srv.o.Clock.After(d):
	case <-ctx.Done():
	}
}
