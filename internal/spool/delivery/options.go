package delivery

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Resolver answers questions to the DNS; *dns.Client is one.
type Resolver interface {
	Lookup(ctx context.Context, q dns.Question) dns.Answer
}

// Body is the stored body of a message; *journal.Body is one. An error that
// wraps a *journal.DamageError says that it is damaged.
type Body interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Bodies opens bodies.
type Bodies func(ctx context.Context, lsn journal.LSN) (Body, error)

// Route sends the mail of some domains to a next hop instead of to their MX
// hosts.
type Route struct {
	// Domains are names, or, with a leading dot, all names below one. A name
	// goes before those with a dot, and a longer one before a shorter.
	Domains []string
	Hop     Hop
}

// Options of a [Delivery]. The zero value of each field has a default.
type Options struct {
	Hostname string   // ours, in EHLO; an MX host of this name is ourselves
	Self     []string // other names of ours that MX records may have
	// SelfAddrs are addresses of ours that MX hosts may have.
	SelfAddrs []netip.Addr
	Routes    []Route
	Default   *Hop // for domains without a route; nil: their own MX hosts

	// AllowNetworks are private and other special networks that an MX record
	// may point into. Next hops may be anywhere.
	AllowNetworks []netip.Prefix
	Source4       netip.Addr // local address of connections; the system's choice if invalid
	Source6       netip.Addr
	NoIPv6        bool
	Port          uint16 // of MX hosts; 25 if 0

	MaxConns    int           // in use at a time; 500 if 0
	MaxPerHost  int           // of those to one host; 20 if 0
	MaxIdle     int           // kept for the next message; 100 if 0
	IdleFor     time.Duration // that one is kept; 15 seconds if 0
	MaxMessages int           // on one connection; 200 if 0
	// NoChunking sends bodies by DATA also where CHUNKING is offered.
	NoChunking bool
	Times      Times

	// Observe hears of each new connection to an MX host how TLS came out, for
	// reports (RFC 8460). It must not block. nil: nobody wants to know.
	Observe func(tlspolicy.Session)
	// Dial makes the connections; a net.Dialer's if nil. local is invalid for
	// the system's choice.
	Dial    func(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error)
	Rand    io.Reader
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

// Times are how long a host is waited for. Those of the dialogue are RFC 5321
// §4.5.3.2's where they are 0.
type Times struct {
	Slot    time.Duration // for a connection when all are in use; 20 seconds if 0
	Connect time.Duration // to one address; 30 seconds if 0
	SMTP    smtp.ClientTimes
}

const (
	// maxConnsDefault is half of the descriptors that a process has unless
	// somebody gave it more.
	maxConnsDefault = 500
	// maxPerHostDefault is what large providers take from one address before
	// they say 421.
	maxPerHostDefault = 20
	// maxIdleDefault spares a busy host most connects.
	maxIdleDefault = 100
	// idleForDefault is well below the patience of any server with a client
	// that says nothing, so that a reused connection is seldom a dead one.
	idleForDefault = 15 * time.Second
	// maxMessagesDefault: some servers count, and are cross with more.
	maxMessagesDefault = 200
	// waitersMax is how many attempts wait for a connection to one host: one
	// that is slow or gone may have the mail of thousands of domains, and must
	// not keep all the queue's workers waiting.
	waitersMax = 20
	// slotDefault is a few messages' time.
	slotDefault = 20 * time.Second
	// connectDefault is five SYNs.
	connectDefault = 30 * time.Second
	// connectFirst is what an address may take while another waits whose
	// family is a different one: a broken IPv6 must not cost half a minute.
	connectFirst = 5 * time.Second

	// hostsMax and addrsMax bound what one attempt tries of a domain's MX
	// hosts and their addresses: RFC 5321 §5.1 asks for two at least, and no
	// more than these are there for a good reason.
	hostsMax = 10
	addrsMax = 20
	// rcptMax is of recipients in one transaction: as many every server has to
	// take (RFC 5321 §4.5.3.1.8).
	rcptMax = smtp.RecipientsMin
	// searchMax is after which time no other address is tried: a domain with
	// many that each take their time could hold a worker for hours.
	searchMax = 15 * time.Minute
	// attemptMax is after which time an attempt begins no other transaction;
	// the recipients that are left have one of their own later.
	attemptMax = time.Hour
	// plainFor is how long a host whose TLS failed is not asked for it again,
	// where none is needed.
	plainFor = 10 * time.Minute
	// deafFor is how long a host or address that did not answer is tried after
	// the others: else each message would wait for it (RFC 5321 §4.5.4.1).
	deafFor = 2 * time.Minute
	// dottedFor is how long a host that does not know BDAT after all gets DATA.
	dottedFor = 24 * time.Hour
	// dottedRetry is when a message is sent again by DATA.
	dottedRetry = time.Second
	// recentMax is how many hosts are remembered for each of these.
	recentMax = 4096
	// busyRetry is when a host is tried again whose connections are all in use.
	busyRetry = 20 * time.Second
	// smallBody is up to how many octets a body is read at once and kept
	// during an attempt.
	smallBody = 64 << 10
	// scanBlock is one read of a body that is looked through, in octets.
	scanBlock = 32 << 10
	// sessionsMax is how many hosts' TLS sessions are kept to be resumed.
	sessionsMax = 1024
)

func (o Options) withDefaults() Options {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	o.Hostname = strings.ToLower(o.Hostname)
	setDefault(&o.Port, 25)
	setDefault(&o.MaxConns, maxConnsDefault)
	setDefault(&o.MaxPerHost, maxPerHostDefault)
	setDefault(&o.MaxIdle, maxIdleDefault)
	setDefault(&o.IdleFor, idleForDefault)
	setDefault(&o.MaxMessages, maxMessagesDefault)
	setDefault(&o.Times.Slot, slotDefault)
	setDefault(&o.Times.Connect, connectDefault)
	if o.Dial == nil {
		o.Dial = dial
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "delivery")
	return o
}

func setDefault[T ~int | ~int64 | ~uint16](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// forbidden reports whether no MX record may lead to an address: it is a
// mistake, or somebody wants us to talk to machines behind our firewall.
func (o *Options) forbidden(a netip.Addr) bool { return !dns.Reachable(a, o.AllowNetworks) }

// dial connects over TCP.
func dial(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, "tcp", to.String())
}
