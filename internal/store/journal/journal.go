package journal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Journal is the log. All methods may be called from many goroutines at once,
// except that Replay and Start come before the first Append.
type Journal struct {
	o     Options
	store StoreID
	epoch uint32
	lock  io.Closer
	files *files
	found Recovery

	segments atomic.Uint64 // counter of segment ids
	durable  atomic.Uint64 // LSN
	failure  atomic.Pointer[error]
	active   atomic.Uint64 // SegmentID that is written, for the mark of a failure
	// verdict is held while a group is declared durable and while the
	// journal is declared failed: one of the two comes first, so the mark
	// of a failure is never behind what was acknowledged.
	verdict sync.Mutex
	mark    sys.File // guarded by verdict; nil if there is none
	markBad bool     // guarded by verdict: the last write of it failed, and was logged

	mu      sync.RWMutex
	table   map[SegmentID]*segment // guarded by mu
	removed map[SegmentID]bool     // guarded by mu: removed in this run
	// reported are the places whose damage was logged; guarded by mu.
	reported map[Position]bool

	// layout is held for reading by whoever needs segments to stay where
	// they are, for writing while compaction removes some.
	layout sync.RWMutex
	// compacting is held by the one compaction that runs. Lock order:
	// compacting, layout, mu.
	compacting sync.Mutex

	requests sync.Pool // of *request
	buffers  sync.Pool // of *[]byte, largeBuffer long
	queue    queue
	done     chan struct{} // closed when the log's goroutine has ended; nil before Start
	started  atomic.Bool
	busy     atomic.Int64 // Unix nanoseconds since when a group is being made durable; 0 if none
}

// Durable gives the last LSN that is durable.
func (j *Journal) Durable() LSN { return LSN(j.durable.Load()) }

// StoreID gives the store's UUID.
func (j *Journal) StoreID() StoreID { return j.store }

// Recovery gives what Open found.
func (j *Journal) Recovery() Recovery { return j.found }

// Err gives the failure that has ended appending, wrapped in ErrFailed; nil
// if there is none.
func (j *Journal) Err() error {
	if p := j.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Stalled gives for how long the group in hand has been waiting for the disk,
// or for the view behind it; 0 if none is. A sound disk takes milliseconds, a
// dead mount may never answer.
func (j *Journal) Stalled() time.Duration {
	since := j.busy.Load()
	if since == 0 {
		return 0
	}
	return max(0, j.o.Clock.Now().Sub(time.Unix(0, since)))
}

// fail makes an error of the disk final: what the disk holds is not known any
// more, so nothing is accepted until a new start has looked at it.
func (j *Journal) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	j.verdict.Lock()
	defer j.verdict.Unlock()
	if p := j.failure.Load(); p != nil {
		return *p
	}
	j.failure.Store(&err)
	j.o.Metrics.failed.Set(1)
	j.o.Log.Error("journal failed, nothing is accepted any more", telemetry.Err, cause)
	j.writeMark(true)
	return err
}

// Start makes the journal ready to append. onDurable is called by the log's
// goroutine, in LSN order, with each group of records once it is durable and
// before their Appends return; it owns the slice. It may block: the log waits.
func (j *Journal) Start(onDurable func([]Record)) error {
	if err := j.Err(); err != nil {
		return err
	}
	if !j.started.CompareAndSwap(false, true) {
		return errors.New("journal: started twice")
	}
	w := &writer{j: j, onDurable: onDurable, next: firstLSN(j.epoch)}
	if err := w.open(); err != nil {
		return err
	}
	j.done = make(chan struct{})
	go w.run()
	return nil
}

// firstLSN is that of the first record of an epoch.
func firstLSN(epoch uint32) LSN { return LSN(uint64(epoch)<<counterBits | 1) }

// Close ends appending after what is queued, seals the active segment and
// gives the lock back. Bodies that are open stay readable until their Close.
func (j *Journal) Close() error {
	if !j.queue.close() {
		return nil
	}
	if j.done != nil {
		<-j.done
	}
	j.closeMark()
	j.files.close()
	err := j.lock.Close()
	if e := j.Err(); e != nil {
		return e
	}
	return err
}
