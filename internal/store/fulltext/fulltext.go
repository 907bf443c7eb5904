package fulltext

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// ErrGone is what Options.Text says of a message that is not there any more.
var ErrGone = errors.New("message is gone")

// Options of an Index.
type Options struct {
	// Path is that of fulltext.db, whose folder must exist.
	Path string
	// Store names the journal that LSNs are of, and Last is the last LSN that
	// it has given: a file that says otherwise is not this store's.
	Store string
	Last  journal.LSN

	// Text gives all text of a message in which the scan may look: fields of
	// headers and text parts, decoded to UTF-8, folded or not. What the scan
	// looks through in one go must stand there whole; in what order, and with
	// what in between, does not matter. It is called by the worker only.
	Text func(ctx context.Context, lsn journal.LSN) (io.ReadCloser, error)
	// Gone gives those of up to 4,096 messages, ascending, that are there no
	// more. It is called by the worker only. nil: none ever is.
	Gone func(ctx context.Context, lsns []journal.LSN) ([]journal.LSN, error)

	Rest    int          // how many times longer than it works the worker rests; 0: 3, negative: never
	FS      sys.FS       // nil: the real one; SQLite uses that in any case
	Clock   sys.Clock    // nil: the real clock
	Log     *slog.Logger // nil: discard
	Metrics *Metrics     // nil: not exported
}

// Index knows which messages may hold which strings. Its methods may be called
// from any goroutine.
type Index struct {
	o Options

	// db is held for reading while connections are used, for writing while
	// the file is replaced.
	db      sync.RWMutex
	conn    *sqlite.Conn // the worker's; nil: there is no usable file
	readers chan *sqlite.Conn

	mu      sync.Mutex
	known   known
	wanted  []journal.LSN // ascending, distinct, not settled when they came
	damaged bool          // a lookup found the file damaged: the worker replaces it

	kick chan struct{} // capacity 1: the worker has something to look at
	stop context.CancelFunc
	done chan struct{} // closed when the worker has ended

	grams *grammar // the worker's, made when first needed
	terms []byte   // the worker's
}

// Open opens the index, or begins a new one where there is none or the old one
// cannot be used, and starts the worker. An error is one of the file system.
func Open(o Options) (*Index, error) {
	ctx, stop := context.WithCancel(context.Background())
	x, err := open(o)
	if err != nil {
		stop()
		return nil, err
	}
	x.stop = stop
	go x.work(ctx)
	return x, nil
}

// open is Open without the worker.
func open(o Options) (*Index, error) {
	if o.FS == nil {
		o.FS = sys.OSFS()
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Rest == 0 {
		o.Rest = restFactor
	}
	o.Log = telemetry.Logger(o.Log, "fulltext")
	x := &Index{
		o: o, readers: make(chan *sqlite.Conn, readersMax),
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	for range readersMax {
		x.readers <- nil // opened when first taken
	}
	if err := x.openDatabase(); err != nil {
		return nil, err
	}
	return x, nil
}

// Want hands over messages, in any order, that a search had to scan: those that
// are not indexed will be, some time. It does not block, and forgets what is
// too much.
func (x *Index) Want(lsns []journal.LSN) {
	x.mu.Lock()
	defer x.mu.Unlock()
	had := len(x.wanted)
	for _, lsn := range lsns {
		if len(x.wanted) == wantedMax {
			break
		}
		if !x.known.settled(lsn) {
			x.wanted = append(x.wanted, lsn)
		}
	}
	if len(x.wanted) == had {
		return
	}
	slices.Sort(x.wanted)
	x.wanted = slices.Compact(x.wanted)
	x.o.Metrics.wanted.Set(float64(len(x.wanted)))
	x.wake()
}

func (x *Index) wake() {
	select {
	case x.kick <- struct{}{}:
	default:
	}
}

// Indexed says of how many of lsns it is known which strings they cannot hold.
func (x *Index) Indexed(lsns []journal.LSN) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, lsn := range lsns {
		if x.known.indexed(lsn) {
			n++
		}
	}
	return n
}

// Close ends the worker, keeping what it has done, waits for lookups and closes
// the file. Afterwards every message is a candidate.
func (x *Index) Close() error {
	x.stop()
	<-x.done
	x.db.Lock()
	defer x.db.Unlock()
	return x.closeDatabase()
}
