package pop3

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// Limits of a session. What an operator may want to change is in [Options].
const (
	// A command line with its CRLF. RFC 2449 §4 has 255 octets; the rest is
	// room for long names and passwords in UTF-8.
	commandOctetsMax = 1024
	// A line of a SASL exchange: what package sasl takes, behind an AUTH if
	// it is an initial response. RFC 5034 sets no limit.
	saslOctetsMax = sasl.MaxLine + len("AUTH SCRAM-SHA-256-PLUS \r\n")
	// Wrong commands in one session before it is ended: a client that speaks
	// POP3 sends none, one that speaks something else sends many.
	wrongCommandsMax = 20
	// Commands before a login: CAPA, STLS, CAPA, UTF8, AUTH and a few tries
	// need a dozen.
	strangerCommandsMax = 50
	// Refused logins in one session.
	refusedLoginsMax = 4

	// RFC 1939 §3: the autologout timer is at least ten minutes.
	idleTimeoutDefault = 10 * time.Minute
	// A client that takes nothing for so long is gone.
	writeTimeoutDefault = 2 * time.Minute
	// A handshake is three or four packets; thirty seconds outlast two
	// retransmissions of each.
	handshakeTimeout = 30 * time.Second
	// How long a login may take: the hashing of passwords is queued under
	// load, and the client's own patience is about a minute.
	loginTimeout = 45 * time.Second
	// How long the removal at QUIT may take, even when the host is stopping.
	updateTimeout = 30 * time.Second
	// Messages removed in one change: a few hundred KB of a record.
	removeMax = 100_000

	readBufferOctets  = 1 << 10
	writeBufferOctets = 4 << 10
	// One read of a stored body: at most a verified chunk of 64 KB lies
	// behind it.
	bodyBufferOctets = 32 << 10
)

// Options of a [Server]. The zero value of each field has a default.
type Options struct {
	Hostname       string        // in the greeting; "localhost" if empty
	Implementation string        // of the CAPA response; "Breakwater" if empty
	IdleTimeout    time.Duration // for the next command; 10 minutes if 0, RFC 1939 §3 wants no less
	WriteTimeout   time.Duration // for the client to take some of what is sent; 2 minutes if 0
	Clock          sys.Clock     // sys.RealClock if nil
	// OnLogin hears of each login: with ok false of each wrong password, but
	// not of faults. It must not block. nil: nobody wants to know.
	OnLogin func(ip netip.Addr, ok bool)
	Log     *slog.Logger // discarded if nil
	Metrics *Metrics     // counted nowhere if nil
}

func (o Options) withDefaults() Options {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.Implementation == "" {
		o.Implementation = "Breakwater"
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = idleTimeoutDefault
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = writeTimeoutDefault
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	o.Log = telemetry.Logger(o.Log, "pop3")
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}
