package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// books is fate's store and intake in memory, and the journal under them: what
// is in it survives a crash.
type books struct {
	tb testing.TB

	mu       sync.Mutex
	messages map[journal.LSN]*fate.Message
	lsn      journal.LSN
	notices  []Notice
	commits  int
	changes  int
}

var errPower = errors.New("the power is off")

// life is the books as seen by one life of the queue, until it ends.
type life struct {
	*books
	off     chan struct{} // closed when the power is cut
	update  func([]fate.Update)
	slow    time.Duration
	refuse  func(cs []fate.Change) error // nil or an error of Commit
	refuse2 func(n Notice) error         // of Post
}

func newBooks(tb testing.TB) *books {
	return &books{tb: tb, messages: map[journal.LSN]*fate.Message{}}
}

func (b *books) live() *life {
	return &life{books: b, off: make(chan struct{}), slow: time.Millisecond}
}

func (l *life) dead() bool {
	select {
	case <-l.off:
		return true
	default:
		return false
	}
}

// pass lets time pass, or says that the power went off meanwhile.
func (l *life) pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.off:
		return errPower
	case <-time.After(d):
		if l.dead() {
			return errPower
		}
		return nil
	}
}

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// mail makes a message from one@demo.test.
func mail(to ...string) *fate.Message {
	m := &fate.Message{Source: fate.Submitted, Account: 1, From: addr("one@demo.test"), Size: 100}
	for _, a := range to {
		m.Recipients = append(m.Recipients, fate.Recipient{Address: addr(a), Standing: fate.Standing{State: fate.Queued}})
	}
	return m
}

// accept makes a message durable and tells the queue.
func (l *life) accept(m *fate.Message) journal.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lsn++
	m.LSN, m.ID, m.Received = l.lsn, fmt.Sprintf("m%d", l.lsn), time.Now().UTC()
	l.messages[m.LSN] = m
	var us []fate.Update
	for i, r := range m.Recipients {
		if !r.State.Ended() {
			us = append(us, fate.Update{Open: open(m, i), Fresh: true})
		}
	}
	if l.update != nil {
		l.update(us)
	}
	return m.LSN
}

func open(m *fate.Message, i int) fate.Open {
	r := m.Recipients[i]
	return fate.Open{
		LSN: m.LSN, Rcpt: i, State: r.State, Due: r.Due, Received: m.Received, Attempts: r.Attempts,
		Warned: r.Warned, Account: m.Account, Domain: r.Address.Domain, Route: r.Route,
	}
}

func (l *life) Open(_ context.Context, fn func(fate.Open) error) error {
	l.mu.Lock()
	var os []fate.Open
	for _, lsn := range slices.Sorted(maps.Keys(l.messages)) {
		for i, r := range l.messages[lsn].Recipients {
			if !r.State.Ended() {
				os = append(os, open(l.messages[lsn], i))
			}
		}
	}
	l.mu.Unlock()
	for _, o := range os {
		if err := fn(o); err != nil {
			return err
		}
	}
	return nil
}

// Load leaves out what it may.
func (l *life) Load(_ context.Context, lsn journal.LSN, rcpts ...int) (*fate.Message, error) {
	if l.dead() {
		return nil, errPower
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[lsn]
	if m == nil {
		return nil, fate.ErrNoSuchMessage
	}
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	if len(rcpts) > 0 {
		c.Recipients = c.Recipients[:min(len(c.Recipients), slices.Max(rcpts)+1)]
		for n := range c.Recipients {
			if !slices.Contains(rcpts, n) {
				c.Recipients[n] = fate.Recipient{}
			}
		}
	}
	return &c, nil
}

func (l *life) ByID(ctx context.Context, id string) (*fate.Message, error) {
	var lsn journal.LSN
	if _, err := fmt.Sscanf(id, "m%d", &lsn); err != nil {
		return nil, fate.ErrNoSuchMessage
	}
	return l.Load(ctx, lsn)
}

// Commit is durable halfway through, so that a crash may come after that and
// before the queue knows.
func (l *life) Commit(ctx context.Context, cs ...fate.Change) error {
	if err := l.pass(ctx, l.slow/2); err != nil {
		return err
	}
	if l.refuse != nil {
		if err := l.refuse(cs); err != nil {
			return err
		}
	}
	l.apply(cs)
	return l.pass(ctx, l.slow/2)
}

func (l *life) Post(ctx context.Context, n Notice) (string, error) {
	if err := l.pass(ctx, l.slow/2); err != nil {
		return "", err
	}
	if l.refuse2 != nil {
		if err := l.refuse2(n); err != nil {
			return "", err
		}
	}
	l.mu.Lock()
	l.notices = append(l.notices, n)
	l.mu.Unlock()
	l.apply(n.Changes)
	return "dsn", l.pass(ctx, l.slow/2)
}

func (l *life) apply(cs []fate.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commits++
	var us []fate.Update
	for _, c := range cs {
		l.changes++
		m := l.messages[c.LSN]
		for k, i := range c.Rcpt {
			if k > 0 && i <= c.Rcpt[k-1] {
				l.tb.Errorf("recipients of a change are not ascending: %v", c.Rcpt)
			}
			r := &m.Recipients[i]
			if r.State.Ended() {
				l.tb.Errorf("message %d, recipient %d: %v after %v", c.LSN, i, c.State, r.State)
				continue
			}
			r.State, r.Due, r.Last = c.State, c.Due, c.Event
			r.Events = append(slices.Clone(r.Events), c.Event)
			if c.Attempt {
				r.Attempts++
			}
			r.Warned = r.Warned || c.Warned
			if c.Route != nil {
				r.Route = *c.Route
			}
			us = append(us, fate.Update{Open: open(m, i)})
		}
	}
	if l.update != nil {
		l.update(us)
	}
}

// state is where a recipient stands.
func (b *books) state(lsn journal.LSN, i int) fate.Recipient {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.messages[lsn].Recipients[i]
}

// rest lets the time of a synctest bubble pass.
func rest(d time.Duration) { <-time.After(d) }

// told gives the notices so far.
func (b *books) told() []Notice {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notices)
}

// carrier is a function that is a Carrier.
type carrier func(ctx context.Context, j Job) Result

func (c carrier) Carry(ctx context.Context, j Job) Result { return c(ctx, j) }

// all is a result that says the same of all recipients.
func all(j Job, h Health, e fate.Event) Result {
	r := Result{Health: h, Why: e.Reason}
	for range j.Rcpt {
		r.Outcomes = append(r.Outcomes, Outcome{Event: e})
	}
	return r
}

// zeros is a source of randomness that is none.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// begin runs a queue in a synctest bubble; end ends it.
func begin(tb testing.TB, l *life, o Options, c Carrier) (q *Queue, end func()) {
	o.Hostname, o.Rand = "mail.demo.test", zeros{}
	q = New(o, l, c, l)
	l.mu.Lock()
	l.update = q.Update
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	return q, func() {
		tb.Helper()
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run: %v", err)
		}
	}
}
