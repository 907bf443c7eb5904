package session

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Kind is whom a server serves.
type Kind uint8

// The kinds.
const (
	// MX takes mail from anybody for our own users. With Options.Users it
	// lets those log in, under TLS, and serves them as Submission does.
	MX Kind = iota
	// Submission takes mail from our own users, after a login, for anybody
	// (RFC 6409).
	Submission
)

// String returns the kind as metrics and logs have it.
func (k Kind) String() string {
	if k == Submission {
		return "submission"
	}
	return "mx"
}

// Options of a [Server]. The zero value of each field has a default.
type Options struct {
	Hostname      string
	Kind          Kind
	MessageSize   int64 // of the largest message, in octets; 50 MiB if 0
	MaxRecipients int   // of a message; 1000 if 0, never less than 100
	// Postmaster is the domain of the bare <postmaster>; Hostname if empty.
	Postmaster message.Domain
	// CloseOnFault ends a session at once that sends a bare CR, bare LF or
	// NUL; otherwise only the command or the message is refused.
	CloseOnFault bool
	WithoutDSN   bool       // the DSN extension is not offered
	Without8Bit  bool       // likewise 8BITMIME
	WithoutUTF8  bool       // likewise SMTPUTF8
	RequireTLS   bool       // REQUIRETLS is offered (RFC 8689): what takes the mail keeps to it
	Times        smtp.Times // how long to wait for the client
	Write        time.Duration
	Handshake    time.Duration
	Login        time.Duration // of the Backend; 45 seconds if 0
	Grace        time.Duration // for a message in flight when the host stops; 10 seconds if 0
	// Clock tells the time of the connections' deadlines.
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
	// Users is where the mail of those goes who log in at an MX. nil: it
	// offers no AUTH.
	Users Mailroom
	// UserMetrics count a session of an MX once its client has logged in;
	// Metrics if nil.
	UserMetrics *Metrics
	// OnLogin hears of each login: with ok false of each wrong password, but
	// not of faults. It must not block. nil: nobody wants to know.
	OnLogin func(ip netip.Addr, ok bool)
	// Current says whether a login still counts: it is asked at each step of a
	// transaction, so that a new password ends what was begun under a stolen one.
	// nil: the
	// backend is asked if it is a Reviewer; else all logins count.
	Current func(sasl.Identity) bool
}

// Reviewer is a backend that knows whether a login still counts.
type Reviewer interface{ Current(sasl.Identity) bool }

const (
	// writeTimeoutDefault is how long a client may take to take replies: they
	// fit into the buffers of any system, so it does not read at all.
	writeTimeoutDefault = 2 * time.Minute
	// handshakeTimeoutDefault outlasts two retransmissions of each of the four
	// packets of a handshake.
	handshakeTimeoutDefault = 30 * time.Second
	// loginTimeoutDefault is how long the hashing of passwords may be queued:
	// the client's own patience is about a minute.
	loginTimeoutDefault = 45 * time.Second
	// graceDefault lets a message of 50 MB arrive at 5 MB/s; a service manager
	// gives a stopping program 90 seconds or so.
	graceDefault = 10 * time.Second

	// failureDelay is the wait before the answer to the first failed login; it
	// doubles with each further one. It makes guessing slow without making a
	// typing error felt.
	failureDelay = time.Second
	// lingerMax is how long, and lingerOctetsMax how much, is read from a
	// client that is being closed while it still sends: a socket closed with
	// unread octets is reset, and the last reply may be lost with it.
	lingerMax = 2 * time.Second
	// lingerOctetsMax is what a client has in flight on a fast path.
	lingerOctetsMax = 1 << 20

	// readBufferOctets is one read of a body. Larger ones gain little: the
	// socket has seldom more.
	readBufferOctets = 64 << 10
	// smallBufferOctets is what a silent TLS connection holds for its next
	// commands.
	smallBufferOctets = 512
	// outBufferKeepMax is the largest reply buffer that is used again.
	outBufferKeepMax = 16 << 10
)

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&o.Write, writeTimeoutDefault}, {&o.Handshake, handshakeTimeoutDefault},
		{&o.Login, loginTimeoutDefault}, {&o.Grace, graceDefault},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, o.Kind.String())
	}
	if o.UserMetrics == nil {
		o.UserMetrics = o.Metrics
	}
	return o
}
