package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/access/imap"
	"github.com/breakwater-mail/breakwater/internal/access/pop3"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/certs"
	"github.com/breakwater-mail/breakwater/internal/spool/intake"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// Listener is one bound address.
type Listener struct {
	Service string // the key in [listen]
	Addr    string // with the real port where 0 was asked for
}

// Bound lists the bound addresses in the order of [listen].
type Bound []Listener

// Addr returns the first address of a service, "" when it is off.
func (b Bound) Addr(service string) string {
	for _, l := range b {
		if l.Service == service {
			return l.Addr
		}
	}
	return ""
}

// listeners are the bound sockets, not served yet.
type listeners struct {
	door    door // port 25
	mail    []boundListener
	metrics []net.Listener
	bound   Bound
	metered *listen.Metrics
}

type boundListener struct {
	service string
	*listen.Listener
}

// bind binds every address of the configuration or none.
func bind(c Config, cert *certs.Store, reg prometheus.Registerer, log *slog.Logger) (_ *listeners, err error) {
	var ls listeners
	defer func() {
		if err != nil {
			ls.close()
		}
	}()
	proxyFrom, err := c.proxyFrom()
	if err != nil {
		return nil, err
	}
	ls.metered = listen.NewMetrics(reg)
	if ls.door, err = openDoor(c, proxyFrom, reg, log); err != nil {
		return nil, err
	}
	for _, s := range c.Listen.all() {
		if s.name == "smtp" {
			ls.bound = append(ls.bound, ls.door.bound()...)
			continue
		}
		for _, addr := range s.addrs {
			if s.name == "metrics" {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					return nil, bindError(s.name, err)
				}
				ls.metrics = append(ls.metrics, l)
				ls.bound = append(ls.bound, Listener{s.name, l.Addr().String()})
				continue
			}
			l, err := listen.Listen(listen.Options{
				Addr: addr, TLS: cert.TLS(),
				Implicit:  s.name == "submissions" || s.name == "imaps" || s.name == "pop3s",
				ProxyFrom: proxyFrom,
				MaxConns:  c.Listen.MaxConns, MaxPerNetwork: c.Listen.MaxPerNetwork,
				Refuse: refusal(s.name), Part: s.name,
				Banned: ls.door.banned(s.name),
				Log:    log, Metrics: ls.metered,
			})
			if err != nil {
				return nil, bindError(s.name, err)
			}
			ls.mail = append(ls.mail, boundListener{s.name, l})
			ls.bound = append(ls.bound, Listener{s.name, l.Addr().String()})
		}
	}
	return &ls, nil
}

// bindError says what can be done about an address that cannot be bound.
func bindError(service string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen.%s: %w; stop what listens there (another breakwater?) or change listen.%s in the configuration", service, err, service)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen.%s: %w; give the program CAP_NET_BIND_SERVICE, or start it as root with a user to become", service, err)
	}
	return fmt.Errorf("listen.%s: %w", service, err)
}

// refusal returns what a connection beyond the limits is told, in the words of
// its protocol. All of them mean: not now, try again.
func refusal(service string) func(listen.Reason) []byte {
	text := map[string]string{
		"submission": "421 4.7.0 Too many connections, try again later\r\n",
		"imap":       "* BYE [UNAVAILABLE] Too many connections, try again later\r\n",
		"pop3":       "-ERR [SYS/TEMP] Too many connections, try again later\r\n",
	}[service]
	return func(listen.Reason) []byte { return []byte(text) }
}

// close gives the sockets back; for a start that came to nothing.
func (ls *listeners) close() {
	if ls.door.lobby != nil {
		_ = ls.door.lobby.Close() // nobody was let in
	}
	for _, l := range ls.mail {
		_ = l.Close() // nothing was accepted from it
	}
	for _, l := range ls.metrics {
		_ = l.Close()
	}
}

// serveConn holds one connection.
type serveConn func(context.Context, *listen.Conn)

// sessionOptions are what sessions of a kind have in common.
func (c *Config) sessionOptions(kind session.Kind) session.Options {
	return session.Options{
		Hostname: c.Hostname, Kind: kind,
		MessageSize: int64(c.SMTP.MessageSize), MaxRecipients: c.SMTP.MaxRecipients,
		RequireTLS: true,
	}
}

// services builds what answers on each listener, and what stands behind the
// edge on port 25.
func services(c Config, s *Store, e *edge, a *away, reg prometheus.Registerer, log *slog.Logger) map[string]serveConn {
	users := mailroom{Intake: a.out.intake(intake.Options{
		Submission: true, AnyFrom: !c.Submission.CheckFrom, Limiter: a.out.guard, Correspondents: e.policy,
	}, log), given: &a.watch.given, withdrawn: a.out.guard.Withdrawn}
	userMetrics := session.NewMetrics(reg, session.Submission.String())
	smtpServer := func(kind session.Kind, room session.Mailroom, metrics *session.Metrics) *session.Server {
		o := c.sessionOptions(kind)
		o.Log, o.Metrics, o.Users, o.UserMetrics, o.OnLogin = log, metrics, users, userMetrics, e.onLogin
		return session.New(o, room, s.Accounts.For(account.SMTP))
	}
	im := imap.New(imap.Options{
		Hostname: c.Hostname, SessionsPerUser: c.IMAP.MaxPerUser,
		AppendLimit: int64(c.SMTP.MessageSize), Quota: s.quotaOf, Text: s.narrower(),
		OnLogin: e.onLogin, Log: log, Metrics: imap.NewMetrics(reg),
	}, s.Accounts.For(account.IMAP), s.Mailboxes)
	pop := pop3.New(pop3.Options{
		Hostname: c.Hostname, OnLogin: e.onLogin, Log: log, Metrics: pop3.NewMetrics(reg),
	}, s.Accounts.For(account.POP3), s.Mailboxes)
	imapConn := func(ctx context.Context, c *listen.Conn) { im.ServeConn(ctx, c) }
	popConn := func(ctx context.Context, c *listen.Conn) { pop.ServeConn(ctx, c) }
	submission := smtpServer(session.Submission, users, userMetrics).ServeConn
	if e.inner == nil {
		mx := mailroom{Intake: a.out.intake(intake.Options{}, log), given: &a.watch.given, taken: a.heard}
		e.behind(smtpServer(session.MX, mx, session.NewMetrics(reg, session.MX.String())), mx)
	} else {
		if c.Relay.WhenDown == "queue" {
			e.inner.queued = mailroom{Intake: a.out.intake(intake.Options{Behind: c.behind}, log), given: &a.watch.given}
		}
		e.behind(nil, nil)
	}
	return map[string]serveConn{
		"submission": submission, "submissions": submission,
		"imap": imapConn, "imaps": imapConn, "pop3": popConn, "pop3s": popConn,
	}
}

// mailroom is an intake as sessions see it: the two packages do not know each
// other, so that the types have to be said here.
type mailroom struct {
	*intake.Intake
	given *atomic.Int64 // messages that were answered with 250
	// withdrawn hears how many recipients were accepted of a user for nothing,
	// taken of what was taken. Each may be nil; none may block.
	withdrawn func(e *session.Envelope, n int)
	taken     func(ctx context.Context, e *session.Envelope, id string)
}

// Open implements session.Mailroom.
func (m mailroom) Open(ctx context.Context, e *session.Envelope) (session.Transaction, error) {
	if err := m.Sender(ctx, e); err != nil {
		return nil, err
	}
	return &transaction{mailroom: m, e: e}, nil
}

// transaction is one of an intake, which keeps nothing between RCPT and DATA.
// It belongs to the session's goroutine.
type transaction struct {
	mailroom
	e    *session.Envelope
	open int // recipients that were accepted, and of whose message nothing has come yet
}

// Recipient implements session.Transaction.
func (t *transaction) Recipient(ctx context.Context, to message.Address) error {
	err := t.Rcpt(ctx, t.e, to)
	if err == nil {
		t.open++
	}
	return err
}

// Close implements session.Transaction: what was given up, or refused after
// all, shall cost a user nothing.
func (t *transaction) Close() {
	if t.withdrawn != nil && t.e.Account != 0 && t.open > 0 {
		t.withdrawn(t.e, t.open)
	}
}

// Begin implements session.Transaction.
func (t *transaction) Begin(ctx context.Context, e session.Envelope) (session.Body, error) {
	b, err := t.Intake.Begin(ctx, e)
	if err != nil {
		return nil, err
	}
	return counted{b, t, e}, nil
}

// counted is a body whose 250 is counted: the audit compares that with what is
// booked.
type counted struct {
	*intake.Body
	t *transaction
	e session.Envelope
}

// Commit implements session.Body.
func (b counted) Commit(ctx context.Context) (string, error) {
	id, err := b.Body.Commit(ctx)
	if err == nil {
		b.t.open = 0
		b.t.given.Add(1)
		if b.t.taken != nil {
			b.t.taken(ctx, &b.e, id)
		}
	}
	return id, err
}

// serveHTTP answers on a metrics listener until ctx is done.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
