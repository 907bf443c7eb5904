package lobby

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
)

const (
	// writeTimeout is how long a guest may take to take octets that the shell
	// has accepted for it.
	writeTimeout = 30 * time.Second
	// outMax is how many octets the portable shell accepts for a connection
	// that has not taken the last ones yet.
	outMax = 8 << 10
	// portableTick is the longest sleep of the portable shell's clock while
	// there are guests.
	portableTick = 20 * time.Millisecond
)

// passOn hands a connection over once what is left to be said is written.
func passOn(o *Options, h Handover, rest []byte, admit func(Handover)) {
	if len(rest) == 0 {
		admit(h)
		return
	}
	go func() {
		err := h.Conn.SetWriteDeadline(o.Clock.Now().Add(writeTimeout))
		if err == nil {
			_, err = h.Conn.Write(rest)
		}
		if err == nil {
			err = h.Conn.SetWriteDeadline(time.Time{})
		}
		if err != nil {
			h.Conn.Close()
			h.Ended()
			return
		}
		admit(h)
	}()
}

// portable is the shell of one hall where there is no epoll: a goroutine for
// each guest, which has a buffer only while octets are there.
type portable struct {
	h       *hall
	o       *Options
	admit   func(Handover)
	nls     []net.Listener
	wg      sync.WaitGroup
	conns   map[int32]*conn // guarded by h.mu
	last    int32           // guarded by h.mu: the last name of a connection
	buffers sync.Pool       // of *[readMax]byte
}

// conn is one connection. All of it is guarded by h.mu, except for what only
// its reader uses.
type conn struct {
	p         *portable
	nc        net.Conn
	lc        *listen.Conn
	fd        int32
	slot, gen uint32
	held      []byte        // reader's: read, and not wanted yet
	small     [1]byte       // reader's: what is read where nothing is wanted
	kick      chan struct{} // wakes the reader that holds something
	out       []byte        // accepted, and not written yet
	writing   bool          // a goroutine does
	blocked   bool          // not all was accepted
	half      bool          // nothing more will be written
	closed    bool          // to be closed once all is written
	gone      *Handover     // to be handed over once all is written
}

func newPortable(o *Options, h *hall, nls []net.Listener, admit func(Handover)) *portable {
	p := &portable{h: h, o: o, admit: admit, nls: nls, conns: map[int32]*conn{}}
	p.buffers.New = func() any { return new([readMax]byte) }
	h.sh = p
	return p
}

// run works until ctx ends and all goroutines have.
func (p *portable) run(ctx context.Context) error {
	p.h.mu.Lock()
	p.h.begin(p.o.Clock.Now())
	p.h.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		for _, nl := range p.nls {
			nl.Close()
		}
	})
	defer stop()
	for _, nl := range p.nls {
		p.wg.Go(func() { p.accept(ctx, nl) })
	}
	for ctx.Err() == nil {
		p.do(func(h *hall) { h.tick() })
		wait := levelWait
		if p.busy() {
			wait = portableTick
		}
		select {
		case <-ctx.Done():
		case <-p.o.Clock.After(wait):
		}
	}
	p.do(func(h *hall) {
		h.stop()
		h.observe()
	})
	p.wg.Wait()
	return nil
}

func (p *portable) busy() bool {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	return p.h.count > 0
}

// do gives the hall an event, and wakes those whose reading may go on.
func (p *portable) do(event func(h *hall)) {
	h := p.h
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setTime(p.o.Clock.Now())
	event(h)
	for _, slot := range h.ready {
		if g := h.taken(slot); g != nil {
			p.conns[g.fd].wake()
		}
	}
	h.ready = h.ready[:0]
}

func (p *portable) accept(ctx context.Context, nl net.Listener) {
	for {
		nc, err := nl.Accept()
		switch {
		case err == nil:
			p.arrive(nc)
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		default:
			p.o.Metrics.errors.Inc()
			evicted := false
			p.do(func(h *hall) { evicted = h.evict(0, rankUnscored) })
			if !evicted {
				p.o.Log.Warn("accept", telemetry.Err, err, telemetry.Dur, portableTick)
				select {
				case <-ctx.Done():
				case <-p.o.Clock.After(portableTick):
				}
			}
		}
	}
}

// arrive receives a connection. What is no guest is closed or handed over.
func (p *portable) arrive(nc net.Conn) {
	p.do(func(h *hall) {
		p.last++
		c := &conn{p: p, nc: nc, fd: p.last, kick: make(chan struct{}, 1)}
		c.lc = listen.NewConn(nc, listen.Facts{})
		p.conns[c.fd] = c
		var remote netip.AddrPort
		if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
			remote = a.AddrPort()
		}
		if h.stopped {
			c.closed = true
			c.finish()
			return
		}
		if c.slot, c.gen = h.arrive(c.fd, remote); c.slot != 0 {
			p.wg.Go(c.read)
		}
	})
}

// read is the life of a guest's goroutine.
func (c *conn) read() {
	for {
		want, ok := 0, false
		c.p.do(func(h *hall) {
			ok = h.live(c.slot, c.gen) != nil
			if want = h.want(c.slot, c.gen); want > 0 && len(c.held) > 0 {
				n := min(want, len(c.held))
				b := c.held[:n]
				c.held = append([]byte(nil), c.held[n:]...)
				c.clearReadable(h)
				h.octets(c.slot, c.gen, b)
				ok = h.live(c.slot, c.gen) != nil
				want = -1
			}
		})
		switch {
		case !ok:
			return
		case want < 0: // look again
		case want == 0 && len(c.held) > 0:
			<-c.kick
		default:
			if !c.readOnce(want) {
				return
			}
		}
	}
}

// wake lets a reader look again that waits with octets in its hand.
func (c *conn) wake() {
	select {
	case c.kick <- struct{}{}:
	default: // it was told
	}
}

// clearReadable says that all the octets that are known of are taken.
func (c *conn) clearReadable(h *hall) {
	if g := h.live(c.slot, c.gen); g != nil && len(c.held) == 0 {
		g.flags &^= flagReadable
	}
}

// readOnce waits for octets: for one where none is wanted, to know that they
// are there. It reports false when the connection has ended.
func (c *conn) readOnce(want int) bool {
	small := want == 0
	get := func() []byte {
		if small {
			return c.small[:]
		}
		return c.p.buffers.Get().(*[readMax]byte)[:min(want, readMax)]
	}
	put := func(b []byte) {
		if !small {
			c.p.buffers.Put((*[readMax]byte)(b[:readMax]))
		}
	}
	b, n, err, ok := c.lc.ReadWhenReady(get, put)
	if !ok {
		b = get()
		n, err = c.lc.Read(b)
		if n > 0 {
			err = nil
		} else {
			put(b)
		}
	}
	if err != nil {
		broken := !isEOF(err)
		c.p.do(func(h *hall) {
			if broken {
				h.broken(c.slot, c.gen)
			} else {
				h.eof(c.slot, c.gen)
			}
		})
		return false
	}
	c.p.do(func(h *hall) {
		if now := h.want(c.slot, c.gen); now >= n {
			h.octets(c.slot, c.gen, b[:n])
			h.charge(c.slot, c.gen, c.p.o.Clock.Now())
		} else {
			c.held = append(c.held, b[:n]...)
			h.waiting(c.slot, c.gen)
		}
	})
	put(b)
	return true
}

// answer implements shell.
func (p *portable) answer(slot, gen uint32, s dnsbl.Score) {
	p.do(func(h *hall) { h.scored(slot, gen, s) })
}

// write implements shell: octets are accepted as far as there is room, and
// written by a goroutine that lives as long.
func (p *portable) write(fd int32, _, _ uint32, b []byte) int {
	c := p.conns[fd]
	n := min(len(b), outMax-len(c.out))
	c.blocked = n < len(b)
	c.out = append(c.out, b[:n]...)
	if len(c.out) > 0 && !c.writing {
		c.writing = true
		p.wg.Go(c.write)
	}
	return n
}

// write writes what was accepted.
func (c *conn) write() {
	for {
		var b []byte
		c.p.do(func(h *hall) {
			if b, c.out = c.out, nil; len(b) > 0 {
				return
			}
			if c.blocked {
				c.blocked = false
				h.writable(c.slot, c.gen)
				b, c.out = c.out, nil
			}
			if len(b) == 0 {
				c.writing = false
				c.finish()
			}
		})
		if len(b) == 0 {
			return
		}
		err := c.nc.SetWriteDeadline(c.p.o.Clock.Now().Add(writeTimeout))
		if err == nil {
			_, err = c.nc.Write(b)
		}
		if err != nil {
			c.p.do(func(h *hall) {
				h.broken(c.slot, c.gen)
				c.out, c.writing, c.closed = nil, false, true
				c.finish()
			})
			return
		}
	}
}

// finish does what waited for the octets to be written.
func (c *conn) finish() {
	switch {
	case c.writing:
	case c.gone != nil:
		o := *c.gone
		delete(c.p.conns, c.fd)
		if c.closed || c.nc.SetWriteDeadline(time.Time{}) != nil {
			c.nc.Close()
			o.Ended()
			return
		}
		o.Conn = c.nc
		c.p.admit(o)
	case c.closed:
		delete(c.p.conns, c.fd)
		c.nc.Close()
	case c.half:
		c.lc.CloseWrite() // where there is no such thing the client sees the end later
	}
}

// shutdown implements shell.
func (p *portable) shutdown(fd int32) {
	c := p.conns[fd]
	c.half = true
	c.finish()
}

// close implements shell.
func (p *portable) close(fd int32) {
	c := p.conns[fd]
	c.closed = true
	c.wake()
	c.finish()
}

// pass implements shell. The connection's goroutine is the one that is here,
// or there is none.
func (p *portable) pass(fd int32, rest []byte, o Handover) bool {
	c := p.conns[fd]
	o.Unread = append(o.Unread, c.held...)
	c.held = nil
	c.gone = &o
	if c.out = append(c.out, rest...); len(c.out) > 0 && !c.writing {
		c.writing = true
		p.wg.Go(c.write)
	}
	c.finish()
	return true
}
