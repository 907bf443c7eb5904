package lobby

import (
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Options of a [Lobby]. The zero value of each field has a default.
type Options struct {
	Addrs []string // "host:port" each; port 0 is any
	Loops int      // that share the work; one for each processor if 0
	// Hostname is Machine's, if that has none.
	Hostname string
	// Machine has the options of the session's machine, so that nobody sees
	// where the dialogue goes on.
	Machine smtp.Options
	// TLS says that sessions can do STARTTLS: it is offered to whoever is not
	// listed.
	TLS bool
	// TLSGuests is how many may be handed over for STARTTLS whose session has
	// not called Handover.Ended; 200 if 0. Beyond them the answer is 454.
	TLSGuests int
	// ProxyFrom are the networks of proxies, whose connections begin with a
	// PROXY header.
	ProxyFrom []netip.Prefix
	// Strangers is how many guests there may be at a time; 20,000 if 0. The
	// limit of descriptors less Reserve bounds it too.
	Strangers int
	// Reserve is how many descriptors are kept for sessions and the rest of
	// the program; a sixteenth of the limit, 256 at least, if 0, but no more
	// than half of it. On systems without such a limit it means nothing.
	Reserve int
	// Budget bounds the price of all guests in octets; 32 MiB if 0.
	Budget  int64
	Times   Times
	Stutter Stutter
	// ListedAt is the weight of a Score from which a guest is listed: it gets
	// no STARTTLS and its replies stutter. 1 if 0. A Gate that has a method
	// Listed(dnsbl.Score) bool is asked instead.
	ListedAt int
	// Portable makes the lobby use a goroutine for each guest, as it does on
	// systems without epoll.
	Portable bool
	Clock    sys.Clock
	Log      *slog.Logger
	Metrics  *Metrics
}

// Times are the longest waits for a guest at each level of load, calm, busy
// and stormy. The zero value of each has a default. A guest that is neither
// refused nor suspect has four times as long at load.
//
// Deviation: RFC 5321 §4.5.3.2.7 has 5 minutes for a command. Under a wave
// those who are silent keep the places of those who want to send.
type Times struct {
	// Command is from a reply to the end of the next command; 5, 5 and 2
	// minutes.
	Command [3]time.Duration
	// Dialogue is from the banner to a verdict; 10, 5 and 2 minutes.
	Dialogue [3]time.Duration
	// Refused is from the first refusal on; 5, 5 and 2 minutes: who is hurried
	// out comes back, and costs more then than by staying.
	Refused [3]time.Duration
}

// Stutter is how slowly the replies to listed and refused guests go out. At
// load they come whole but late, in a storm at once, since waiting guests cost
// more than they lose.
type Stutter struct {
	Off    bool
	Every  time.Duration // between two pieces of a reply; 1 second if 0
	Octets int           // of a piece, except the last; 8 if 0
	Pieces int           // of a reply; 2 if 0
	// Total bounds what a guest is kept waiting in all, so that one that is
	// refused wrongly learns it within its patience; 10 seconds if 0.
	Total time.Duration
}

const (
	// strangersDefault holds the wave that the incident wave is measured by,
	// 18,000, with room for good senders.
	strangersDefault = 20_000
	// budgetDefault is some 1,600 octets for each of 20,000 guests, three
	// times what a resting one costs.
	budgetDefault = 32 << 20
	// reserveMin is what a small host's sessions, files and sockets need.
	reserveMin = 256
	// tlsGuestsDefault is 5 MB at 25 KB for a TLS connection.
	tlsGuestsDefault = 200
)

// fit bounds Strangers by what a limit of descriptors leaves for them.
func (o *Options) fit(descriptors int) {
	if o.Reserve <= 0 {
		o.Reserve = max(descriptors/16, reserveMin)
	}
	o.Strangers = min(o.Strangers, max(descriptors-min(o.Reserve, descriptors/2), 1))
}

func (o Options) withDefaults() Options {
	if o.Loops <= 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	if o.Machine.Hostname == "" {
		o.Machine.Hostname = o.Hostname
	}
	setDefault(&o.TLSGuests, tlsGuestsDefault)
	setDefault(&o.Strangers, strangersDefault)
	setDefault(&o.Budget, budgetDefault)
	setDefault(&o.ListedAt, 1)
	for i, d := range [3]time.Duration{5 * time.Minute, 5 * time.Minute, 2 * time.Minute} {
		setDefault(&o.Times.Command[i], d)
	}
	for i, d := range [3]time.Duration{10 * time.Minute, 5 * time.Minute, 2 * time.Minute} {
		setDefault(&o.Times.Dialogue[i], d)
	}
	for i, d := range [3]time.Duration{5 * time.Minute, 5 * time.Minute, 2 * time.Minute} {
		setDefault(&o.Times.Refused[i], d)
	}
	setDefault(&o.Stutter.Every, time.Second)
	setDefault(&o.Stutter.Octets, 8)
	setDefault(&o.Stutter.Pieces, 2)
	setDefault(&o.Stutter.Total, 10*time.Second)
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	o.Log = telemetry.Logger(o.Log, "lobby")
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}

func setDefault[T ~int | ~int64](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}
