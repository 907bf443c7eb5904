package fate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Options of a Store; the zero value is usable.
type Options struct {
	Log     *slog.Logger  // nil: discard
	Clock   sys.Clock     // nil: the real clock
	Metrics *Metrics      // nil: not exported
	Keep    time.Duration // how long closed books are kept; 0: 60 days
}

// Store keeps the fates of accepted mail. Make it with New, give it to
// index.Open as a view, then Attach it. Its methods may be called from any
// goroutine, those of index.View excepted.
type Store struct {
	o Options
	x *index.Index // set by Attach
}

// Metrics are the store's counters.
type Metrics struct{}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics { return &Metrics{} }

// Owns implements mailbox.Other.
func (s *Store) Owns(tag uint64) bool { return tag >= 0x300 && tag <= 0x3ff }

// Holds implements mailbox.Other.
func (s *Store) Holds(*sqlite.Conn, journal.LSN) (bool, error) { return false, nil }

// Notes implements mailbox.Other.
func (s *Store) Notes(*sqlite.Conn) (interface {
	Drop(journal.Record) error
	States(*sqlite.Conn, func(envelope []byte) error) error
}, error) {
	return notes{}, nil
}

type notes struct{}

func (notes) Drop(journal.Record) error                     { return errSoon }
func (notes) States(*sqlite.Conn, func([]byte) error) error { return nil }

// New makes a Store.
func New(o Options) *Store {
	o.Log = telemetry.Logger(o.Log, "fate")
	return &Store{o: o}
}

// Attach gives the store its index. It must be called once, right after
// index.Open.
func (s *Store) Attach(x *index.Index) error {
	s.x = x
	return nil
}

var errSoon = errors.New("fate: being written")

// Schema implements index.View.
func (s *Store) Schema() string { return "" }

// Apply implements index.View.
func (s *Store) Apply(*sqlite.Conn, journal.Record) (any, error) { return nil, nil }

// Committed implements index.View.
func (s *Store) Committed([]index.Applied) {}

// AppendAccepted appends the facts of an accepted message, for
// mailbox.Delivery.Also. m.LSN is not used.
func AppendAccepted(dst []byte, m *Message) []byte { return dst }

// AppendChange appends a change, for Delivery.Also of the message that tells
// of it.
func AppendChange(dst []byte, c *Change) []byte { return dst }

// Commit makes changes durable, in one record.
func (s *Store) Commit(ctx context.Context, cs ...Change) error { return errSoon }

// Load returns a message with what became of its recipients.
func (s *Store) Load(ctx context.Context, lsn journal.LSN) (*Message, error) { return nil, errSoon }

// ByID is Load by the envelope's id.
func (s *Store) ByID(ctx context.Context, id string) (*Message, error) { return nil, errSoon }

// Open calls fn with every recipient that has not ended, oldest first.
func (s *Store) Open(ctx context.Context, fn func(Open) error) error { return errSoon }

// OnUpdate sets what is told of new open recipients and of changes.
func (s *Store) OnUpdate(fn func([]Update)) {}

// Period bounds sums. The zero value bounds nothing.
type Period struct {
	Since, Until time.Time
	Account      account.ID
}

// Sums count recipients.
type Sums struct {
	Accepted, Delivered, Relayed, Bounced, Discarded, SetAside, Queued int64

	Messages    int64
	Unaccounted []string // ids of messages whose numbers do not add up
}

// Sums adds up what became of the recipients of a period's messages.
func (s *Store) Sums(ctx context.Context, p Period) (Sums, error) { return Sums{}, errSoon }

// Find says which messages Trace looks for.
type Find struct {
	MessageID, ID, Address string
	Since, Until           time.Time
	Account                account.ID
	Limit                  int
}

// Trace calls fn with the messages that match, newest first.
func (s *Store) Trace(ctx context.Context, f Find, fn func(*Message) error) error { return errSoon }

// Purge drops closed books older than Options.Keep and returns how many.
func (s *Store) Purge(ctx context.Context) (int, error) { return 0, errSoon }

// Run purges hourly until ctx ends.
func (s *Store) Run(ctx context.Context) error { return errSoon }
