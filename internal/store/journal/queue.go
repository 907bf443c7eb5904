package journal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// request is an entry on its way into the log. It is used again for others.
type request struct {
	e     *Entry
	size  int64 // of body, chunk table and given envelope, for the bound of a group
	body  int64
	sum   summer
	crc   uint32
	table []byte

	env     []byte // what is written as the envelope
	stamped bool   // Stamp has succeeded and was not undone
	rec     Record
	err     error
	done    chan struct{} // has room for one
}

// prepare checks the entry and makes the checksums, in the caller's goroutine
// and before anything is queued.
func (r *request) prepare(j *Journal, e *Entry) error {
	if e.Type < TypeMessage || e.Type > TypeTombstone {
		return fmt.Errorf("journal: type %d cannot be appended", e.Type)
	}
	if e.AsOf != 0 && e.Type != TypeState {
		return fmt.Errorf("journal: AsOf is for State records")
	}
	r.e, r.err, r.stamped, r.env = e, nil, false, nil
	r.body = 0
	for _, p := range e.Body {
		r.body += int64(len(p))
	}
	if r.body > inlineLimit || len(e.Envelope) > EnvelopeMax {
		return ErrTooLarge
	}
	if e.Large != nil {
		if err := e.Large.usable(j); err != nil {
			return err
		}
	}
	r.table = nil
	if r.body > chunkSize {
		r.sum = summer{table: r.sum.table[:0]}
		for _, p := range e.Body {
			r.sum.add(p)
		}
		r.table = r.sum.finish()
		r.crc = r.sum.all
	} else {
		r.crc = sumShort(e.Body)
	}
	r.size = r.body + int64(len(r.table)+len(e.Envelope)) + headSize
	return nil
}

// forget drops what belongs to the caller.
func (r *request) forget() {
	r.e, r.env, r.err, r.rec = nil, nil, nil, Record{}
}

// finish answers the caller.
func (r *request) finish(err error) {
	r.err = err
	r.done <- struct{}{}
}

// queue holds the requests that wait for the log's goroutine. It is bounded by
// the number of callers, who wait and whose memory the bodies are.
type queue struct {
	mu     sync.Mutex
	max    int64         // octets of a group
	list   []*request    // guarded by mu
	size   int64         // guarded by mu: octets of list
	closed bool          // guarded by mu
	want   int           // guarded by mu: how many must be queued for enough
	enough chan struct{} // has room for one: want are queued, or a group is full, or closed
}

func (q *queue) init(max int64) { q.max, q.enough = max, make(chan struct{}, 1) }

// put queues a request, unless the queue is closed.
func (q *queue) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.list = append(q.list, r)
	q.size += r.size
	if len(q.list) == q.want || q.size >= q.max {
		q.tell()
	}
	return true
}

// tell wakes the log's goroutine, now or when it next waits.
func (q *queue) tell() {
	select {
	case q.enough <- struct{}{}:
	default:
	}
}

// gather waits for a request, and then for others until there are n, patience
// at most. Neither for a closed queue nor for more than a group holds is waited.
func (q *queue) gather(n int, patience time.Duration, clock sys.Clock) {
	for q.lacks(1) {
		<-q.enough
	}
	if patience <= 0 || !q.lacks(n) {
		return
	}
	late := clock.After(patience)
	for q.lacks(n) {
		select {
		case <-q.enough:
		case <-late:
			return
		}
	}
}

// lacks tells whether fewer than n requests are queued and more can come. Then
// enough is told of the n-th; it may also be told of an earlier wish.
func (q *queue) lacks(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.want = n
	return len(q.list) < n && (len(q.list) == 0 || q.size < q.max) && !q.closed
}

// take gives as many requests as fit into a group, at least one if there is
// one, appended to into.
func (q *queue) take(into []*request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, int64(0)
	for n < len(q.list) && (n == 0 || size+q.list[n].size <= q.max) {
		size += q.list[n].size
		n++
	}
	q.size -= size
	into = append(into, q.list[:n]...)
	left := copy(q.list, q.list[n:])
	clear(q.list[left:])
	q.list = q.list[:left]
	return into
}

// len gives how many wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
}

// close ends the queue; it tells whether it was open.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := !q.closed
	q.closed = true
	q.tell()
	return was
}

// Append makes a record of e and returns it when it is durable and onDurable
// has had it. The context counts only until the entry is queued: what has been
// queued will be written. Errors are ErrFull, ErrFailed, ErrClosed,
// ErrTooLarge, and what Stamp returned.
func (j *Journal) Append(ctx context.Context, e *Entry) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	if err := j.Err(); err != nil {
		return Record{}, err
	}
	r := j.requests.Get().(*request)
	defer j.requests.Put(r)
	if err := r.prepare(j, e); err != nil {
		return Record{}, err
	}
	if !j.started.Load() || !j.queue.put(r) {
		return Record{}, ErrClosed
	}
	<-r.done
	rec, err := r.rec, r.err
	r.forget()
	return rec, err
}
