package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Facts is how the inner server learns who the client is.
type Facts uint8

// The ways.
const (
	// XCLIENT is Postfix's command. A server that does not offer it gets no
	// mail: it would take every stranger for this host.
	XCLIENT Facts = iota
	// Proxy is a header of the PROXY protocol, version 2, on a connection for
	// each session.
	Proxy
	// Unstated leaves the inner server in the belief that all mail is ours.
	// Its own rules for clients have no effect then.
	Unstated
)

// String returns the way as the configuration has it.
func (f Facts) String() string {
	return [...]string{"xclient", "proxy", "none"}[f]
}

// StartTLS says whether the connection to the inner server becomes TLS.
type StartTLS uint8

// The choices.
const (
	// TLSIfOffered takes what is offered and verifies nothing: it is as good
	// as the network in between.
	TLSIfOffered StartTLS = iota
	TLSNever
	// TLSRequired verifies the certificate too.
	TLSRequired
)

// Options of a [Relay]. The zero value of each field but To has a default.
type Options struct {
	To       string // the inner server, "host:port"
	Hostname string // ours, in EHLO and Received; "localhost" if empty
	Facts    Facts
	StartTLS StartTLS
	// TLS has the roots and the name for TLSRequired; nil: the system's, and
	// the host of To.
	TLS *tls.Config
	// Domains are those of recipients that are passed on. Empty: any, as the
	// inner server decides; one that would relay for strangers is found out by
	// a probe and gets no mail.
	Domains []message.Domain

	MaxConns int           // in use or idle; 100 if 0
	MaxIdle  int           // 10 if 0
	IdleFor  time.Duration // that an unused connection is kept; 30 seconds if 0, 3 with Proxy
	// RememberRefused is how long a recipient that was refused is refused
	// without asking again; 2 minutes if 0, never if negative.
	RememberRefused time.Duration
	// ProbeEvery is how often the inner server is asked what it can do; 5
	// minutes if 0.
	ProbeEvery time.Duration
	Times      Times

	// Offered hears what the inner server can do, from Probe and Run: first,
	// and whenever it changes. nil: nobody wants to know.
	Offered func(Offer)
	// Name finds the name of a client for XCLIENT: the one that its address
	// leads to and that leads back; "" if there is none. nil: nobody knows.
	Name func(context.Context, netip.Addr) string
	// Dial makes the connections; a net.Dialer's if nil.
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

// Offer is what the inner server can do, as far as clients should be told.
type Offer struct {
	SizeMax      int64 // of a message here, with room for our header fields; 0 is unstated
	EightBitMIME bool
	SMTPUTF8     bool
	DSN          bool
}

// Times are how long the inner server is waited for. The client's own patience
// (RFC 5321 §4.5.3.2) has to last longer, or it hears nothing.
type Times struct {
	Slot    time.Duration // for a connection when all are in use; 20 seconds if 0
	Connect time.Duration // 10 seconds if 0
	Banner  time.Duration // and the answer to EHLO; 30 seconds if 0
	Command time.Duration // MAIL, RCPT, DATA; 90 seconds if 0
	Block   time.Duration // for the inner server to take octets of a body; 2 minutes if 0
	Final   time.Duration // for the answer to the body; 9 minutes if 0
}

const (
	// maxConnsDefault is the process limit that Debian's Postfix comes with.
	maxConnsDefault = 100
	// maxIdleDefault spares a busy host most connects and costs the inner
	// server ten processes.
	maxIdleDefault = 10
	// idleForDefault is less than any server's own patience, so that a reused
	// connection is seldom a dead one.
	idleForDefault = 30 * time.Second
	// idleForProxy is for a connection that only the session which it was made
	// for can use again: that one sends its next message at once.
	idleForProxy = 3 * time.Second
	// rememberRefusedDefault: a harvester is done with a name by then, and a
	// new account need not wait longer for its mail.
	rememberRefusedDefault = 2 * time.Minute
	// rememberAcceptedFor only lets others know (Relay.Known).
	rememberAcceptedFor = 10 * time.Minute
	// probeEveryDefault notices a change of the inner server's configuration.
	probeEveryDefault = 5 * time.Minute

	slotDefault    = 20 * time.Second // a message takes a second or two
	connectDefault = 10 * time.Second // three SYNs
	bannerDefault  = 30 * time.Second // the inner server may look the client up
	// commandDefault leaves a client that waits for two minutes (DATA) an
	// answer of ours.
	commandDefault = 90 * time.Second
	blockDefault   = 2 * time.Minute // clients wait for three
	// finalDefault is a minute less than clients wait (§4.5.3.2.6): a reply
	// that comes after that is a message twice.
	finalDefault = 9 * time.Minute

	// retryFirst and retryMax bound the pauses between two probes of a server
	// that is down, which double.
	retryFirst = time.Second
	retryMax   = 15 * time.Second
	// downAfter is how many connections must fail in a row for the inner
	// server to be down: one can be a full queue of connections.
	downAfter = 2
	// headersRoom is what our header fields may add to a message, in octets.
	headersRoom = 2 << 10
)

// errTo says that To is no address.
var errTo = errors.New("the inner server is host:port")

func (o Options) withDefaults() (Options, error) {
	host, _, err := net.SplitHostPort(o.To)
	if err != nil || host == "" {
		return o, fmt.Errorf("relay to %q: %w", o.To, errTo)
	}
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	setDefault(&o.MaxConns, maxConnsDefault)
	setDefault(&o.MaxIdle, maxIdleDefault)
	if o.Facts == Proxy {
		setDefault(&o.IdleFor, idleForProxy)
	}
	setDefault(&o.IdleFor, idleForDefault)
	setDefault(&o.RememberRefused, rememberRefusedDefault)
	setDefault(&o.ProbeEvery, probeEveryDefault)
	setDefault(&o.Times.Slot, slotDefault)
	setDefault(&o.Times.Connect, connectDefault)
	setDefault(&o.Times.Banner, bannerDefault)
	setDefault(&o.Times.Command, commandDefault)
	setDefault(&o.Times.Block, blockDefault)
	setDefault(&o.Times.Final, finalDefault)
	o.TLS = o.tlsConfig(host)
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "relay")
	return o, nil
}

func setDefault[T ~int | ~int64](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

func (o *Options) tlsConfig(host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		c = o.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	c.InsecureSkipVerify = o.StartTLS == TLSIfOffered
	return c
}
