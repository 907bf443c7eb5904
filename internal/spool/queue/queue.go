package queue

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Queue is the machine with its clock, its attempts and its records. Make it
// with New, give Update to fate's OnUpdate, then call Run. Its methods may be
// called from any goroutine.
type Queue struct {
	o       Options
	log     *slog.Logger
	fates   Fates
	carrier Carrier
	poster  Poster
	saver   saver

	poke chan struct{} // something has happened: step

	mu      sync.Mutex // guards what follows
	m       *machine
	loading bool
	loaded  journal.LSN // the last one that was read at the start

	inbox struct {
		order sync.Mutex // held while updates go to the machine, so that they go in order; before mu and inbox.mu
		mu    sync.Mutex // guards what follows; taken alone
		fresh []fate.Open
		ends  []end
	}
	size atomic.Int64 // of the table

	randMu sync.Mutex // guards o.Rand
}

// end is a recipient that has ended. It is all that is kept of an update: a
// queue that drains has hundreds of thousands of them at once.
type end struct {
	lsn  journal.LSN
	rcpt uint32
}

// New makes a queue, which is empty until Run has read it.
func New(o Options, fates Fates, c Carrier, p Poster) *Queue {
	o = o.defaults()
	q := &Queue{
		o: o, log: telemetry.Logger(o.Log, "queue"), fates: fates, carrier: c, poster: p,
		poke: make(chan struct{}, 1), loading: true,
	}
	q.saver = saver{q: q, kick: make(chan struct{}, 1), ended: make(chan struct{})}
	q.m = newMachine(o, q.seed())
	o.Metrics.watch(q)
	return q
}

// seed is of the jitter alone: one that is not random costs nothing but that.
func (q *Queue) seed() uint64 {
	var b [8]byte
	if _, err := io.ReadFull(q.o.Rand, b[:]); err != nil {
		q.log.Error("no randomness", telemetry.Err, err)
		return uint64(q.o.Clock.Now().UnixNano())
	}
	return binary.LittleEndian.Uint64(b[:])
}

// byDomain is the Router where none is given.
func byDomain(o fate.Open) (destination, hold string) {
	if o.Route != "" {
		return o.Route, ""
	}
	return string(o.Domain), ""
}

func (q *Queue) now() int64 { return q.o.Clock.Now().UnixNano() }

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// wakeUp has Run take a step.
func (q *Queue) wakeUp() {
	select {
	case q.poke <- struct{}{}:
	default:
	}
}

// Update tells of recipients that the journal has come to know more of. It
// only notes them down.
//
// The queue itself makes all changes but the first state and what it has
// already forgotten, so only those are heeded.
func (q *Queue) Update(us []fate.Update) {
	q.inbox.mu.Lock()
	for i := range us {
		switch u := &us[i]; {
		case u.State.Ended():
			q.inbox.ends = append(q.inbox.ends, end{u.LSN, uint32(u.Rcpt)})
		case u.Fresh:
			q.inbox.fresh = append(q.inbox.fresh, u.Open)
		}
	}
	q.inbox.mu.Unlock()
	q.wakeUp()
}

// Room is nil, or ErrFull when there is no room for more recipients.
func (q *Queue) Room() error {
	if q.size.Load() >= int64(q.o.Max) {
		return ErrFull
	}
	return nil
}

// routed is an open recipient with what the Router said of it.
type routed struct {
	fate.Open
	destination, hold string
}

func (q *Queue) route(o fate.Open) routed {
	r := routed{Open: o}
	r.destination, r.hold = q.o.Router(o)
	return r
}

// takeIn gives the machine what Update has noted down. Nothing is taken while
// the queue is read: what was accepted meanwhile may be read as well.
func (q *Queue) takeIn() {
	q.inbox.order.Lock()
	defer q.inbox.order.Unlock()
	if q.isLoading() {
		return
	}
	q.inbox.mu.Lock()
	fresh, ends := q.inbox.fresh, q.inbox.ends
	q.inbox.fresh, q.inbox.ends = nil, nil
	q.inbox.mu.Unlock()
	if len(fresh)+len(ends) == 0 {
		return
	}
	rs := make([]routed, 0, len(fresh))
	for _, o := range fresh {
		rs = append(rs, q.route(o))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for _, r := range rs {
		if r.LSN > q.loaded {
			q.m.add(now, r.Open, r.destination, r.hold)
		}
	}
	for _, e := range ends { // none of them is fresh again after it
		q.m.ended(now, e.lsn, int(e.rcpt))
	}
	q.size.Store(int64(q.m.t.count))
}

func (q *Queue) isLoading() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.loading
}

// ends takes the ends of recipients out of the inbox, so that they do not pile
// up while the queue is read. What is as young as the first one that was
// accepted meanwhile stays, for takeIn.
func (q *Queue) ends() []end {
	q.inbox.mu.Lock()
	defer q.inbox.mu.Unlock()
	var ends, rest []end
	for _, e := range q.inbox.ends {
		if len(q.inbox.fresh) > 0 && e.lsn >= q.inbox.fresh[0].LSN {
			rest = append(rest, e)
		} else {
			ends = append(ends, e)
		}
	}
	q.inbox.ends = rest
	return ends
}

// load reads all open recipients. They may be tried as soon as they are read:
// each is read once, and what was accepted later comes by Update.
func (q *Queue) load(ctx context.Context) error {
	began := q.o.Clock.Now()
	batch := make([]routed, 0, loadBatch)
	flush := func() {
		q.inbox.order.Lock()
		defer q.inbox.order.Unlock()
		ends := q.ends() // none of them is of what is read later
		q.mu.Lock()
		now := q.now()
		for _, r := range batch {
			q.m.add(now, r.Open, r.destination, r.hold)
			q.loaded = max(q.loaded, r.LSN)
		}
		for _, e := range ends {
			q.m.ended(now, e.lsn, int(e.rcpt))
		}
		q.size.Store(int64(q.m.t.count))
		q.mu.Unlock()
		batch = batch[:0]
		q.wakeUp()
	}
	count := 0
	err := q.fates.Open(ctx, func(o fate.Open) error {
		batch = append(batch, q.route(o))
		count++
		if len(batch) == loadBatch {
			flush()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the open recipients: %w", err)
	}
	flush()
	q.mu.Lock()
	q.loading = false
	q.mu.Unlock()
	q.wakeUp()
	q.log.Info("the queue is read", telemetry.Count, count, telemetry.Dur, q.o.Clock.Now().Sub(began))
	return nil
}

// HoldAccount holds whatever an account has sent, and will send, until
// ReleaseAccount. It is not remembered over a restart: the account is what
// remembers it.
func (q *Queue) HoldAccount(id account.ID, reason string) {
	q.mu.Lock()
	q.m.holdAccount(q.now(), id, cut(reason, fate.ReasonMax))
	q.mu.Unlock()
	q.wakeUp()
}

// ReleaseAccount ends HoldAccount.
func (q *Queue) ReleaseAccount(id account.ID) {
	q.mu.Lock()
	q.m.releaseAccount(q.now(), id)
	q.mu.Unlock()
	q.wakeUp()
}

// Contains tells whether a recipient is open and known here. While the queue
// is being read the answer is ErrLoading.
func (q *Queue) Contains(lsn journal.LSN, rcpt int) (bool, error) {
	q.takeIn()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.loading {
		return false, ErrLoading
	}
	return q.m.t.find(uint64(lsn), uint32(rcpt)) != 0, nil
}

// Each calls fn with every recipient that is open and known here, in any
// order. While the queue is being read the error is ErrLoading. What is
// accepted or ends meanwhile may be told or not. fn is called without a lock.
func (q *Queue) Each(fn func(lsn journal.LSN, rcpt int)) error {
	if q.isLoading() {
		return ErrLoading
	}
	q.takeIn()
	for from, used := 0, 1; from < used; from += pieceSlots {
		var refs []ref
		q.mu.Lock()
		used = q.m.t.used
		refs = q.m.find(matcher{}, from, from+pieceSlots, refs)
		q.mu.Unlock()
		for _, r := range refs {
			fn(r.lsn, r.rcpt)
		}
	}
	return nil
}
