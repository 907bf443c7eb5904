package ban

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// Mode says what the kernel is used for.
type Mode uint8

// The modes.
const (
	Auto    Mode = iota // the kernel if it can be had, else user space
	Off                 // user space alone
	Require             // the kernel, or New fails
)

// Options of a List. The zero value of a field is its default.
type Options struct {
	Kernel Mode
	// Table is the name of the nftables table of the family inet; two hosts
	// on one machine need two names. Default "breakwater".
	Table string
	// Timeout is how long a ban lasts after the last packet of its source.
	// Default 10 minutes.
	Timeout time.Duration
	// Max is how many sources may be banned at once. Default 1<<20.
	Max int
	// Never are networks that are never banned.
	Never []netip.Prefix
	// RemoveAtExit removes the table when Run ends. Otherwise bans stay in
	// the kernel until they time out.
	RemoveAtExit bool
	// Ports are the TCP ports that are closed to the banned; none: all.
	Ports   []uint16
	Clock   sys.Clock // default: the system's
	Log     *slog.Logger
	Metrics *Metrics // nil: not measured
}

const (
	tableDefault   = "breakwater"
	timeoutDefault = 10 * time.Minute
	// sourcesMax is some five times the largest botnet that was seen at one
	// server; the kernel holds an IPv4 source in about 100 octets.
	sourcesMax = 1 << 20
)

func (o Options) withDefaults() Options {
	if o.Table == "" {
		o.Table = tableDefault
	}
	if o.Timeout <= 0 {
		o.Timeout = timeoutDefault
	}
	if o.Max <= 0 || o.Max > sourcesMax {
		o.Max = sourcesMax
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}
