package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
)

// conn is a connection on which MAIL may be said.
type conn struct {
	c        *smtp.Client
	key      string // who is at the other end, and how that is known
	host     string
	via, tls string
	since    time.Time // idle
	messages int
	reused   bool // it was idle: the host may have closed it
	fallen   bool // it is in the clear since the handshake failed
}

// pool keeps idle connections, and bounds those in use.
type pool struct {
	o     *Options
	slots chan struct{} // one in it for each connection in use

	mu    sync.Mutex
	idle  []*conn // the oldest first; guarded by mu
	gates map[string]*gate
	shut  bool // Run has ended: nothing is kept any more
}

// gate bounds the connections to one host.
type gate struct {
	slots chan struct{}
	users int // who hold a slot or wait for one; guarded by pool.mu
}

func newPool(o *Options) *pool {
	return &pool{o: o, slots: make(chan struct{}, o.MaxConns), gates: map[string]*gate{}}
}

// enter waits for the right to use a connection to a host. leave gives it back.
func (p *pool) enter(ctx context.Context, host string) *failure {
	p.mu.Lock()
	g := p.gates[host]
	if g == nil {
		g = &gate{slots: make(chan struct{}, p.o.MaxPerHost)}
		p.gates[host] = g
	}
	if g.users >= p.o.MaxPerHost+waitersMax {
		p.mu.Unlock()
		return allInUse(host)
	}
	g.users++
	p.mu.Unlock()
	f := p.slot(ctx, g.slots, host)
	if f == nil {
		if f = p.slot(ctx, p.slots, host); f == nil {
			p.o.Metrics.busy.Inc()
			return nil
		}
		<-g.slots
	}
	p.forget(host, g)
	return f
}

func (p *pool) slot(ctx context.Context, slots chan struct{}, host string) *failure {
	select {
	case slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-p.o.Clock.After(p.o.Times.Slot):
		return allInUse(host)
	case <-ctx.Done():
		return interrupted()
	}
}

func allInUse(host string) *failure {
	f := later("4.3.2", queue.Busy, "All connections that this host may have to %s are in use.", host)
	f.retry, f.last = busyRetry, true
	return f
}

func (p *pool) leave(host string) {
	p.o.Metrics.busy.Dec()
	<-p.slots
	p.mu.Lock()
	g := p.gates[host]
	p.mu.Unlock()
	<-g.slots
	p.forget(host, g)
}

func (p *pool) forget(host string, g *gate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(p.gates, host)
	}
}

// has reports whether there is an idle connection.
func (p *pool) has(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		if c.key == key {
			return true
		}
	}
	return false
}

// take takes an idle connection, the one that was used last.
func (p *pool) take(key string) *conn {
	p.mu.Lock()
	over := p.trim()
	var c *conn
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.idle[i].key == key {
			c = p.idle[i]
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			break
		}
	}
	p.o.Metrics.idle.Set(float64(len(p.idle)))
	p.mu.Unlock()
	part(over)
	if c != nil {
		c.reused = true
	}
	return c
}

// put keeps a connection for the next message, if it is worth it.
func (p *pool) put(c *conn) {
	most := p.o.MaxMessages
	if n := c.c.Extensions().MessageMax; n > 0 {
		most = min(most, n)
	}
	if !c.c.Usable() {
		_ = c.c.Close() // it has failed, or said that it ends
		return
	}
	c.since = p.o.Clock.Now()
	p.mu.Lock()
	if c.messages >= most || p.shut {
		p.mu.Unlock()
		c.c.Leave()
		return
	}
	p.idle = append(p.idle, c)
	over := p.trim()
	p.mu.Unlock()
	part(over)
}

// trim takes out what is too old or too much; the caller holds mu, and parts
// from it afterwards.
func (p *pool) trim() []*conn {
	now := p.o.Clock.Now()
	n := max(0, len(p.idle)-p.o.MaxIdle)
	for n < len(p.idle) && now.Sub(p.idle[n].since) >= p.o.IdleFor {
		n++
	}
	over := append([]*conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	clear(p.idle[len(p.idle):cap(p.idle)])
	p.o.Metrics.idle.Set(float64(len(p.idle)))
	return over
}

func part(all []*conn) {
	for _, c := range all {
		c.c.Leave()
	}
}

// sweep closes what has been idle for too long.
func (p *pool) sweep() {
	p.mu.Lock()
	over := p.trim()
	p.mu.Unlock()
	part(over)
}

// closeIdle closes all that is idle, and keeps nothing from now on.
func (p *pool) closeIdle() {
	p.mu.Lock()
	all := p.idle
	p.idle, p.shut = nil, true
	p.o.Metrics.idle.Set(0)
	p.mu.Unlock()
	part(all)
}
