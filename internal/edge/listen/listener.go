package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Listener is one bound address.
type Listener struct {
	o        Options
	nl       net.Listener
	caps     *caps
	counters counters
	open     prometheus.Gauge
	ids      *IDs

	mu    sync.Mutex
	conns map[*Conn]struct{} // guarded by mu
}

// Listen binds the address. Connections wait in the kernel's queue until
// Serve takes them.
func Listen(o Options) (*Listener, error) {
	o = o.withDefaults()
	if o.Implicit && o.TLS == nil {
		return nil, fmt.Errorf("listen on %s: TLS from the start, but no certificate", o.Addr)
	}
	nl, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return newListener(o, nl), nil
}

// newListener serves any net.Listener; o has its defaults.
func newListener(o Options, nl net.Listener) *Listener {
	l := &Listener{o: o, nl: nl, caps: newCaps(&o), conns: make(map[*Conn]struct{}), ids: NewIDs()}
	l.counters = counters{
		handshakeOK:     o.Metrics.tls.WithLabelValues(o.Part, "ok").Inc,
		handshakeFailed: o.Metrics.tls.WithLabelValues(o.Part, "failed").Inc,
	}
	l.open = o.Metrics.open.WithLabelValues(o.Part)
	return l
}

// Addr returns the bound address.
func (l *Listener) Addr() net.Addr { return l.nl.Addr() }

// Close gives the address up; Serve, if it runs, goes on as if its context had
// ended.
func (l *Listener) Close() error { return l.nl.Close() }

// Serve accepts connections until ctx ends and runs handle for each on a
// goroutine of its own, with a context that ends with ctx. The connection is
// closed when handle returns. Serve returns when all handlers have; after
// Options.Drain it closes what is still open.
func (l *Listener) Serve(ctx context.Context, handle func(context.Context, *Conn)) error {
	stop := context.AfterFunc(ctx, func() { l.nl.Close() })
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	pause := time.Duration(0)
	for {
		nc, err := l.nl.Accept()
		if err == nil {
			pause = 0
			l.o.Metrics.accepted.WithLabelValues(l.o.Part).Inc()
			l.take(ctx, nc, handle, &wg)
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			break
		}
		// No descriptors, no memory, or a connection that ended before it was
		// accepted: all of them pass.
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		l.o.Metrics.errors.WithLabelValues(l.o.Part).Inc()
		l.o.Log.Warn("accept", telemetry.Addr, l.nl.Addr().String(), telemetry.Err, err, telemetry.Dur, pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	l.nl.Close()
	cancel()
	l.drain(&wg)
	return nil
}

// drain waits for the handlers, and no longer than Options.Drain for their
// connections.
func (l *Listener) drain(wg *sync.WaitGroup) {
	timer := time.AfterFunc(l.o.Drain, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.conns {
			c.raw.Close()
		}
	})
	defer timer.Stop()
	wg.Wait()
}

// take counts an accepted socket and starts its goroutine.
func (l *Listener) take(ctx context.Context, nc net.Conn, handle func(context.Context, *Conn), wg *sync.WaitGroup) {
	peer := addrPort(nc.RemoteAddr())
	if !l.caps.enterTotal() {
		l.refuse(nc, peer.Addr(), TooMany, nil)
		return
	}
	proxied := l.fromProxy(peer.Addr())
	if !proxied {
		if why, ok := l.caps.enter(peer.Addr()); !ok {
			l.caps.leaveTotal()
			l.refuse(nc, peer.Addr(), why, nil)
			return
		}
	}
	wg.Go(func() { l.run(ctx, nc, peer, proxied, handle) })
}

func (l *Listener) fromProxy(a netip.Addr) bool {
	for _, p := range l.o.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// run is the life of one connection.
func (l *Listener) run(ctx context.Context, nc net.Conn, peer netip.AddrPort, proxied bool, handle func(context.Context, *Conn)) {
	c := NewConn(nc, Facts{ID: FormatID(l.ids.Next()), Remote: peer, TLS: l.o.TLS})
	c.counters = &l.counters
	inside := false // the address is counted
	l.enterConn(c)
	defer func() {
		if p := recover(); p != nil {
			l.o.Metrics.panics.WithLabelValues(l.o.Part).Inc()
			l.o.Log.Error("panic in a connection's handler", telemetry.Conn, c.id,
				telemetry.Err, fmt.Sprint(p), slog.String(telemetry.Reason, string(debug.Stack())))
		}
		c.Close()
		if inside || !proxied {
			l.caps.leave(c.remote.Addr())
		}
		l.caps.leaveTotal()
		l.leaveConn(c)
	}()
	if proxied {
		h, err := readProxy(nc, time.Now().Add(ProxyTimeout))
		if err != nil {
			l.refuse(nc, peer.Addr(), BadProxyHeader, err)
			return
		}
		if h.Source.IsValid() {
			c.remote = h.Source
		}
		why, ok := l.caps.enter(c.remote.Addr())
		if !ok {
			l.refuse(nc, c.remote.Addr(), why, nil)
			return
		}
		inside = true
	}
	if l.o.Implicit {
		hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		err := c.StartTLS(hctx)
		cancel()
		if err != nil {
			l.refuse(nc, c.remote.Addr(), HandshakeFailed, err)
			return
		}
	} else if proxied {
		if err := nc.SetReadDeadline(time.Time{}); err != nil {
			return
		}
	}
	handle(ctx, c)
}

func (l *Listener) enterConn(c *Conn) {
	l.open.Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
}

func (l *Listener) leaveConn(c *Conn) {
	l.open.Dec()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// refuse tells a connection why it may not stay, if there are words for it,
// and closes it.
func (l *Listener) refuse(nc net.Conn, a netip.Addr, why Reason, err error) {
	defer nc.Close()
	l.o.Metrics.refused.WithLabelValues(l.o.Part, why.String()).Inc()
	l.o.Log.LogAttrs(context.Background(), slog.LevelDebug, "connection refused",
		slog.String(telemetry.RemoteIP, a.String()), slog.String(telemetry.Reason, why.String()), slog.Any(telemetry.Err, err))
	if l.o.Refuse == nil || l.o.Implicit || why == BadProxyHeader {
		return
	}
	if text := l.o.Refuse(why); len(text) > 0 {
		if nc.SetWriteDeadline(time.Now().Add(refuseTimeout)) == nil {
			nc.Write(text) // whoever does not take it goes without
		}
	}
}
