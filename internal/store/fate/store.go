package fate

import (
	"context"
	_ "embed" // schema.sql
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

//go:embed schema.sql
var schema string

var (
	_ index.View    = (*Store)(nil)
	_ index.Batcher = (*Store)(nil)
)

// errDetached is a fault of the composition: a question came before Attach.
var errDetached = errors.New("fate store has no index yet")

// Options of a Store; the zero value is usable.
type Options struct {
	Log     *slog.Logger // nil: discard
	Clock   sys.Clock    // nil: the real clock
	Metrics *Metrics     // nil: not exported
	// Keep is how long closed books are kept; 0 means 60 days, less than 0
	// not at all.
	Keep time.Duration
}

// Store keeps the fates of accepted mail. Make it with New, give it to
// index.Open as a view, then Attach it. Its methods may be called from any
// goroutine, those of index.View excepted.
type Store struct {
	o      Options
	x      *index.Index // set by Attach
	update func([]Update)
	apply  *applier // the index writer's
	recent recent
	// dropped is Sums.Dropped: what a replay drops was dropped before.
	dropped atomic.Int64

	mu    sync.Mutex
	scans map[*scan]struct{} // guarded by mu: calls of Open that are under way
}

// New makes a Store.
func New(o Options) *Store {
	o.Log = telemetry.Logger(o.Log, "fate")
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	switch {
	case o.Keep == 0:
		o.Keep = keepDefault
	case o.Keep < 0:
		o.Keep = 0
	}
	return &Store{o: o, apply: newApplier(), scans: make(map[*scan]struct{})}
}

// Attach gives the store its index. It must be called once, right after
// index.Open.
func (s *Store) Attach(x *index.Index) error {
	s.x = x
	return nil
}

// Schema implements index.View.
func (s *Store) Schema() string { return schema }

// Commit makes changes durable, in one record as long as they fit into one: it
// shares its fdatasync with whatever else is being written. The tables show
// them a moment later, and then OnUpdate's function is told. A change of a
// recipient that has ended by then says nothing. Times that are not set are
// now.
func (s *Store) Commit(ctx context.Context, cs ...Change) error {
	if s.x == nil {
		return errDetached
	}
	var b []byte
	for i := range cs {
		c := cs[i]
		if c.At.IsZero() {
			c.At = s.o.Clock.Now()
		}
		var err error
		if b, err = AppendChange(b, &c); err != nil {
			return err
		}
		if len(b) < commitBytes && i < len(cs)-1 {
			continue
		}
		if _, err := s.x.Accept(ctx, &journal.Entry{Type: journal.TypeBatch, Envelope: b}); err != nil {
			return fmt.Errorf("commit changes: %w", err)
		}
		b = nil
	}
	return nil
}
