package listen

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"
)

// Options of a [Listener]. The zero value of each field has a default.
type Options struct {
	Addr string // "host:port"; port 0 is any
	// TLS has the certificates, best through GetCertificate, so that they can
	// be replaced while connections go on. nil: StartTLS fails. A MinVersion
	// below TLS 1.2 is raised to it.
	TLS *tls.Config
	// Implicit begins every connection with a TLS handshake (RFC 8314 §3).
	Implicit bool
	// ProxyFrom are the networks of proxies, whose connections begin with a
	// PROXY header. From others such a header is bad input like any.
	ProxyFrom []netip.Prefix
	// MaxConns, MaxPerAddress and MaxPerNetwork are how many connections may
	// be open; 10,000, MaxPerNetwork and 1,000 if 0.
	MaxConns      int
	MaxPerAddress int
	MaxPerNetwork int
	// Banned says who is turned away without a word; nil: nobody.
	Banned func(netip.Addr) bool
	// Refuse gives what a refused connection is told, such as a 421 of SMTP;
	// nil: nothing. It is not used with Implicit, where there is no one to
	// talk to before the handshake.
	Refuse func(Reason) []byte
	// Drain is how long handlers may go on after the context has ended; 30
	// seconds if 0.
	Drain   time.Duration
	Part    string // name of the listener in logs and metrics
	Log     *slog.Logger
	Metrics *Metrics
}

// Reason is why a connection was refused.
type Reason uint8

// The reasons.
const (
	TooMany          Reason = iota // open connections in all
	TooManyOfAddress               // of one address
	TooManyOfNetwork               // of one network
	BadProxyHeader                 // a proxy did not say whom it speaks for
	HandshakeFailed                // TLS from the start failed
	Banned                         // by Options.Banned
	reasonCount
)

// String returns the reason as metrics and logs have it.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return [reasonCount]string{"total", "address", "network", "proxy_header", "handshake", "banned"}[r]
}

const (
	// maxConnsDefault is what a small machine holds: at some 30 KB each under
	// TLS, with the kernel's share, 300 MB.
	maxConnsDefault = 10_000
	// maxPerNetworkDefault leaves room for nine other networks, whatever one
	// of them does.
	maxPerNetworkDefault = 1_000
	// drainDefault is a third of what a service manager commonly waits before
	// it kills.
	drainDefault = 30 * time.Second

	// ProxyTimeout is how long a proxy may take to send its header: it has it
	// ready when it connects.
	ProxyTimeout = 10 * time.Second
	// handshakeTimeout bounds a handshake at the start of a connection: three
	// or four packets, and two retransmissions of each.
	handshakeTimeout = 30 * time.Second
	// refuseTimeout bounds the telling of a refusal; it fits the socket's
	// buffer, so it waits for nobody.
	refuseTimeout = time.Second

	// acceptPauseMin is the wait after the first failed accept: a connection
	// may end, and free a descriptor, at any time.
	acceptPauseMin = 5 * time.Millisecond
	// acceptPauseMax is the longest wait: clients retry a connection after a
	// second or more.
	acceptPauseMax = time.Second
)

func (o Options) withDefaults() Options {
	if o.MaxConns <= 0 {
		o.MaxConns = maxConnsDefault
	}
	if o.MaxPerNetwork <= 0 {
		o.MaxPerNetwork = maxPerNetworkDefault
	}
	if o.MaxPerAddress <= 0 {
		o.MaxPerAddress = o.MaxPerNetwork
	}
	if o.Drain <= 0 {
		o.Drain = drainDefault
	}
	if o.TLS != nil && o.TLS.MinVersion < tls.VersionTLS12 {
		o.TLS = o.TLS.Clone()
		o.TLS.MinVersion = tls.VersionTLS12
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}
