package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// A View keeps one part of the index: it owns some tables and writes to them
// only by applying records. A view that also has the methods of Batcher or
// Preparer gets those calls too.
type View interface {
	// Schema returns the CREATE statements of the view's tables. A change of
	// this text makes an existing index.db be rebuilt.
	Schema() string
	// Apply writes what r means for this view and leaves alone what concerns
	// others. It must be deterministic. State records reach it only while the
	// index catches up with the journal, at their as-of LSN: when they are
	// appended the tables have what they say. Its result reaches Committed and
	// Commit's caller; of several views' results the first that is not nil.
	// An error sets the record aside, for all views. While Open catches up a
	// record may come again that was applied before a crash.
	Apply(conn *sqlite.Conn, r journal.Record) (any, error)
	// Committed is called after the SQLite transaction that applied rs, in
	// order, before committers wake; not during the replay in Open. It must
	// not block and must not use the index.
	Committed(rs []Applied)
}

// Batcher is a view that gathers changes over a transaction.
type Batcher interface {
	// Flush is called after the last Apply of a transaction, before it ends.
	Flush(conn *sqlite.Conn) error
	// Rollback says that everything applied since the last Flush that was
	// followed by a commit did not happen.
	Rollback()
}

// Preparer is a view that can do work for a replayed record that is not about
// tables, such as parsing its body. Prepare may be called in parallel; the
// first result that is not nil becomes the record's Hint.
type Preparer interface {
	Prepare(ctx context.Context, r journal.Record) any
}

// Applied is one record that has been applied, with the view's own result.
type Applied struct {
	Record journal.Record
	Result any
}

// Options of an Index.
type Options struct {
	Path    string       // of index.db; "" keeps the index in memory, with one connection
	Log     *slog.Logger // nil: discard
	Clock   sys.Clock    // nil: the real clock
	Metrics *Metrics     // nil: not exported
}

// What callers branch on.
var (
	// ErrClosed says that the index has been closed.
	ErrClosed = errors.New("index is closed")
	// ErrBehind says that the index cannot keep up since its disk fails or is
	// full; try later.
	ErrBehind = errors.New("index is stalled")
)

// Index is the SQLite index over the journal. Its methods may be called from
// any goroutine.
type Index struct {
	o       Options
	j       *journal.Journal
	views   []View
	batcher []Batcher
	conn    *sqlite.Conn // the writer's; in memory mode everybody's, under one
	one     *sync.Mutex  // nil unless in memory
	readers *readers     // nil if in memory

	stop chan struct{} // closed by Close
	done chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	room    *sync.Cond    // queue has room again, or closed
	kick    chan struct{} // capacity 1: the writer has something to look at
	queue   []queued      // durable, not applied
	jobs    []*job        // Update calls waiting for the writer
	urgent  bool          // somebody waits: no linger
	applied journal.LSN
	seen    journal.LSN // last LSN that came into the queue
	waiters []waiter
	err     error // stall: cleared when a transaction succeeds again
	failed  error // sticky: the database is damaged; a restart rebuilds it
	closed  bool
}

// Open opens the index, creates or rebuilds it if need be, applies the records
// that it lacks and starts the journal. It takes as long as the replay does.
func Open(ctx context.Context, o Options, j *journal.Journal, views ...View) (*Index, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	x := &Index{
		o: o, j: j, views: views,
		stop: make(chan struct{}), done: make(chan struct{}), kick: make(chan struct{}, 1),
	}
	x.room = sync.NewCond(&x.mu)
	for _, v := range views {
		if b, ok := v.(Batcher); ok {
			x.batcher = append(x.batcher, b)
		}
	}
	if err := x.openDatabase(); err != nil {
		return nil, err
	}
	if err := x.replay(ctx); err != nil {
		x.conn.Close()
		return nil, err
	}
	if o.Path == "" {
		x.one = new(sync.Mutex)
	} else {
		x.readers = newReaders(o.Path)
	}
	go x.write()
	if err := j.Start(x.durable); err != nil {
		return nil, errors.Join(fmt.Errorf("start journal: %w", err), x.Close())
	}
	return x, nil
}

// Accept appends e and returns when it is durable; readers at the barrier see
// it. Its errors are the journal's, ErrBehind or ErrClosed.
func (x *Index) Accept(ctx context.Context, e *journal.Entry) (journal.Record, error) {
	if err := x.accepting(); err != nil {
		return journal.Record{}, err
	}
	return x.j.Append(ctx, e)
}

// commit travels through the journal in Entry.Hint and wakes the committer.
type commit struct {
	hint   any // the caller's own
	result any
	err    error
	done   chan struct{}
}

// Commit appends e and returns when it is durable and applied, with the view's
// result. An error that wraps ErrSetAside says that the record is durable but
// could not be applied. When ctx ends after the append has begun, the change
// may still happen.
func (x *Index) Commit(ctx context.Context, e *journal.Entry) (any, error) {
	if err := x.accepting(); err != nil {
		return nil, err
	}
	c := &commit{hint: e.Hint, done: make(chan struct{})}
	e.Hint = c
	_, err := x.j.Append(ctx, e)
	e.Hint = c.hint
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return c.result, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-x.done:
		select { // applied in the last transaction
		case <-c.done:
			return c.result, c.err
		default:
			return nil, ErrClosed
		}
	}
}

// accepting returns an error if a new record would only make matters worse.
func (x *Index) accepting() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return ErrClosed
	case x.failed != nil:
		return fmt.Errorf("%w: %w", ErrBehind, x.failed)
	case x.err != nil && len(x.queue) >= queuedRecordsMax/2:
		return fmt.Errorf("%w: %w", ErrBehind, x.err)
	}
	return nil
}

// Err returns why the index does not move on, or nil: for health.
func (x *Index) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return errors.Join(x.failed, x.err)
}

// Applied returns the LSN up to which the index shows the journal.
func (x *Index) Applied() journal.LSN {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.applied
}

// Close applies what is durable, stops the writer and closes the database. The
// journal must not append any more, or what it appends is left to the next
// Open; closing it is its owner's business.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	x.room.Broadcast()
	x.mu.Unlock()
	close(x.stop)
	<-x.done
	var err error
	if x.readers != nil {
		err = x.readers.close()
	}
	if x.one != nil {
		x.one.Lock()
		defer x.one.Unlock()
	}
	return errors.Join(err, x.conn.Close())
}
