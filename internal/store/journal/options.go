package journal

import (
	"io"
	"log/slog"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Limits of the format and of one run. Each is checked when writing and
// believed only within these bounds when reading.
const (
	// InlineMax is the longest inline body that callers should make:
	// what is longer goes through NewLarge, so that memory stays bounded
	// and a slow sender never holds up the log.
	InlineMax = 1 << 20
	// inlineLimit leaves room for a prefix of headers before a body that
	// just fits.
	inlineLimit = InlineMax + 256<<10
	// EnvelopeMax bounds an envelope: a batch that expunges a million
	// messages fits.
	EnvelopeMax = 8 << 20
	// extensionMax bounds the journal's own TLV part of a record header.
	extensionMax = 4 << 10
	// LargeMax bounds a large body; 32 bits of chunk numbers would do
	// for more, no mail needs it.
	LargeMax = 1 << 36
	// sourcesMax is how many segments one compaction takes: their ids
	// must fit into the segment header.
	sourcesMax = 256
	// GroupWaitMax is the GroupWait of a host: a few flushes of a fast disk,
	// half of one of a slow disk, and no delay that a client would notice.
	GroupWaitMax = 2 * time.Millisecond
)

// Defaults of Options.
const (
	defaultSegmentBytes = 256 << 20
	defaultGroupBytes   = 16 << 20
	defaultReserveBytes = 16 << 20
	defaultOpenFiles    = 128
)

// Options are the settings of a journal. Dir is required, the zero value of
// everything else is a sound default.
type Options struct {
	Dir   string
	FS    sys.FS    // nil: the operating system's
	Clock sys.Clock // nil: the real one
	Rand  io.Reader // nil: the system's; makes the store's UUID
	// SegmentBytes is the size at which a new log segment is begun.
	SegmentBytes int64
	// GroupBytes bounds one group commit.
	GroupBytes int64
	// GroupWait is how long a group waits at most, from its first entry on,
	// until as many are queued as the last group has shown to be busy. 0:
	// groups are what queues during a flush.
	GroupWait time.Duration
	// ReserveBytes is the size of the reserve file that is given up when
	// the disk is full, so that owners can still delete. Negative: none.
	ReserveBytes int64
	// OpenFiles bounds the segment files kept open for readers that are
	// not in use at the moment.
	OpenFiles int
	// Applied is the last LSN that a view is known to have applied, 0 if
	// unknown. A bad record up to it is media damage and not a torn tail.
	Applied LSN
	Log     *slog.Logger
	Metrics *Metrics
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = sys.OSFS()
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.GroupBytes == 0 {
		o.GroupBytes = defaultGroupBytes
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = defaultReserveBytes
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = defaultOpenFiles
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "journal")
	return o
}
