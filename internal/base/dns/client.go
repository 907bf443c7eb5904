package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Options of a [Client]. The zero value of each field has a default.
type Options struct {
	Servers []netip.AddrPort // the first 3 count; 127.0.0.1:53 if none
	Timeout time.Duration    // of one try; 2 s if 0
	Tries   int              // of each server, at most 5; 2 if 0
	// InFlight bounds the questions that wait for an answer; 4096 if 0.
	InFlight int
	// CacheEntries bounds the answers that are remembered; 0: none is.
	CacheEntries int
	// TrustAD says whose Answer.Authentic is believed; that of servers on
	// loopback addresses by default.
	TrustAD Trust
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

const (
	// tryTimeoutDefault is what a resolver needs at worst to ask a slow server
	// once more; more than that, and the next try is the better hope.
	tryTimeoutDefault = 2 * time.Second
	// triesMax keeps an answer within the patience of any caller.
	triesMax = 5
	// serversMax is what resolv.conf(5) takes.
	serversMax = 3
	// inFlightMax leaves most of the 65,536 ids of a socket free: one is found
	// at once, and to guess one is not made easier.
	inFlightMax = 32768
	// inFlightDefault is a second of a wave's arrivals, at some 300 octets each.
	inFlightDefault = 4096
	// socketsDefault is of each server: an answer has to hit the right one, and
	// a burst of answers has room in the buffers of several.
	socketsDefault = 4
	// tickSlack is how late a try may end: those that began together end
	// together, on one wake-up.
	tickSlack = 5 * time.Millisecond
)

func (o Options) withDefaults() (Options, error) {
	if o.Timeout < 0 || o.Tries < 0 || o.InFlight < 0 || o.CacheEntries < 0 {
		return o, fmt.Errorf("resolver: a bound is negative")
	}
	for _, s := range o.Servers {
		if !s.IsValid() || s.Port() == 0 {
			return o, fmt.Errorf("resolver: %q is no address and port of a name server", s)
		}
	}
	if len(o.Servers) == 0 {
		o.Servers = []netip.AddrPort{thisHost()}
	}
	o.Servers = o.Servers[:min(len(o.Servers), serversMax)]
	if o.Timeout == 0 {
		o.Timeout = tryTimeoutDefault
	}
	if o.Tries == 0 {
		o.Tries = 2
	}
	if o.InFlight == 0 {
		o.InFlight = inFlightDefault
	}
	o.Tries, o.InFlight = min(o.Tries, triesMax), min(o.InFlight, inFlightMax)
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "dns")
	return o, nil
}

// trusted has bit i set if server i is believed about DNSSEC.
func (o *Options) trusted() (bits uint8) {
	for i, s := range o.Servers {
		if o.TrustAD == TrustAll || o.TrustAD == TrustLoopback && s.Addr().Unmap().IsLoopback() {
			bits |= 1 << i
		}
	}
	return bits
}

// Stats are counts since New, and what is in flight now.
type Stats struct {
	Asked    uint64 // questions
	Answered uint64 // questions that a server answered, well or with a failure
	Timeouts uint64 // tries
	Resent   uint64 // packets that were sent once more
	Cached   uint64 // questions answered from the cache
	Shared   uint64 // questions that joined one in flight
	Busy     uint64 // questions refused with ErrBusy
	Strays   uint64 // packets that answer nothing in flight: late, or forged
	TCP      uint64 // tries over TCP
	InFlight int
}

// Client asks name servers.
type Client struct {
	o       Options
	sockets []*socket
	wake    chan struct{} // holds one token if there is output
	closing chan struct{}
	wg      sync.WaitGroup
	// close closes closing once.
	close sync.Once

	mu sync.Mutex
	m  *machine // guarded by mu

	tcp tcpTries
}

// New opens the sockets. A server that cannot be reached yet is no error.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{
		o: o, m: newMachine(&o, socketsDefault, o.trusted(), sys.Rand()),
		wake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	c.tcp.running = make(map[tcpRef]context.CancelFunc)
	for i := range len(o.Servers) * socketsDefault {
		s := newSocket(o.Servers[i/socketsDefault])
		c.sockets = append(c.sockets, s)
		_ = s.dial() // its goroutine tries again
	}
	for i := range c.sockets {
		c.wg.Go(func() { c.receive(i) })
	}
	c.wg.Go(c.pump)
	return c, nil
}

// Close ends what is in flight with ErrClosed, gives the sockets up and
// returns when all its goroutines have ended. A done function must not call
// it.
func (c *Client) Close() error {
	c.close.Do(func() {
		close(c.closing)
		for _, s := range c.sockets {
			s.close()
		}
	})
	c.wg.Wait()
	return nil
}

// Ask asks and returns at once. done is called exactly once, on another
// goroutine, which it must not hold up.
func (c *Client) Ask(q Question, done func(Answer)) {
	name, ok := Normal(q.Name)
	if !ok {
		go done(Answer{Question: q, Err: ErrName})
		return
	}
	q.Name = name
	now := c.o.Clock.Now()
	c.mu.Lock()
	if c.m.closed {
		c.mu.Unlock()
		go done(Answer{Question: q, Err: ErrClosed})
		return
	}
	quiet := c.m.out.empty()
	c.m.ask(q, done, now)
	rouse := quiet && !c.m.out.empty()
	c.mu.Unlock()
	if rouse {
		c.rouse()
	}
}

// rouse wakes the pump. It is needed only when output appears where there was
// none: the pump takes all there is.
func (c *Client) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Lookup asks and waits for the answer or the end of ctx.
func (c *Client) Lookup(ctx context.Context, q Question) Answer {
	answer := make(chan Answer, 1)
	c.Ask(q, func(a Answer) { answer <- a })
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		return Answer{Question: q, Err: ctx.Err()}
	}
}

// Stats returns the counts.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.m.stats
	s.InFlight = len(c.m.questions)
	return s
}

// pump does what the machine wants: it sends, calls, and lets tries end.
func (c *Client) pump() {
	var out output
	var timer <-chan time.Time
	var due time.Time // what the timer waits for
	w := newWriter(c)
	for {
		ended := false
		select {
		case <-c.wake:
		case <-timer:
			timer = nil
		case <-c.closing:
			ended = true
		}
		now := c.o.Clock.Now()
		c.mu.Lock()
		if ended {
			c.m.end(now)
		} else {
			c.m.tick(now)
		}
		out.reset()
		out, c.m.out = c.m.out, out
		deadline, waits := c.m.next()
		flying := len(c.m.questions)
		c.mu.Unlock()
		c.o.Metrics.inFlight.Set(float64(flying))
		c.act(w, &out)
		if ended {
			c.tcp.end()
			return
		}
		if waits && (timer == nil || deadline.Before(due)) {
			timer, due = c.o.Clock.After(deadline.Sub(now)+tickSlack), deadline
		}
	}
}

// act does what the machine wanted.
func (c *Client) act(w *writer, out *output) {
	for i := range c.o.Servers {
		if out.redial>>i&1 != 0 {
			c.o.Log.Warn("name server does not answer", telemetry.Addr, c.o.Servers[i].String())
			for _, s := range c.sockets[i*socketsDefault:][:socketsDefault] {
				s.drop()
			}
		}
	}
	w.send(out)
	for _, t := range out.cancel {
		c.tcp.cancel(tcpRef{t.slot, t.gen})
	}
	for _, t := range out.tcp {
		c.startTCP(t)
	}
	for i := range out.calls {
		out.calls[i].done(out.calls[i].answer)
	}
}
