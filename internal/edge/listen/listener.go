package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Listener is one bound address.
type Listener struct {
	o    Options
	nl   net.Listener
	caps *caps
	ids  *IDs
	pool *Pool
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
	return &Listener{o: o, nl: nl, caps: newCaps(&o), ids: NewIDs(), pool: NewPool(o.Part, o.Metrics, o.Log)}
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
	pause := time.Duration(0)
	for {
		nc, err := l.nl.Accept()
		if err == nil {
			pause = 0
			l.o.Metrics.accepted.WithLabelValues(l.o.Part).Inc()
			l.take(ctx, nc, handle)
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
	l.pool.Drain(l.o.Drain)
	return nil
}

// take counts an accepted socket and starts its goroutine.
func (l *Listener) take(ctx context.Context, nc net.Conn, handle func(context.Context, *Conn)) {
	peer := addrPort(nc.RemoteAddr())
	if !l.caps.enterTotal() {
		l.refuse(nc, peer.Addr(), TooMany, nil)
		return
	}
	v := &visit{l: l, proxied: l.fromProxy(peer.Addr())}
	if !v.proxied {
		if why, ok := v.enter(peer.Addr()); !ok {
			l.caps.leaveTotal()
			l.refuse(nc, peer.Addr(), why, nil)
			return
		}
	}
	c := NewConn(nc, Facts{ID: FormatID(l.ids.Next()), Remote: peer, TLS: l.o.TLS})
	l.pool.Go(c, func() {
		if v.begin(ctx, c) {
			handle(ctx, c)
		}
	}, func() { v.leave(c) })
}

// visit is what a listener knows of one connection.
type visit struct {
	l       *Listener
	proxied bool // its peer speaks for another
	inside  bool // its address is counted
}

// enter counts the address of a connection, if it may come in.
func (v *visit) enter(a netip.Addr) (why Reason, ok bool) {
	if v.l.o.Banned != nil && v.l.o.Banned(a) {
		return Banned, false
	}
	why, ok = v.l.caps.enter(a)
	v.inside = ok
	return why, ok
}

func (v *visit) leave(c *Conn) {
	if v.inside {
		v.l.caps.leave(c.remote.Addr())
	}
	v.l.caps.leaveTotal()
}

func (l *Listener) fromProxy(a netip.Addr) bool {
	for _, p := range l.o.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// begin does what comes before the protocol: the header of a proxy, and TLS
// where it is there from the start. It reports whether the connection may stay.
func (v *visit) begin(ctx context.Context, c *Conn) bool {
	l, nc := v.l, c.raw
	if v.proxied {
		h, err := readProxy(nc, time.Now().Add(ProxyTimeout))
		if err != nil {
			l.refuse(nc, c.remote.Addr(), BadProxyHeader, err)
			return false
		}
		if h.Source.IsValid() {
			c.remote = h.Source
		}
		if why, ok := v.enter(c.remote.Addr()); !ok {
			l.refuse(nc, c.remote.Addr(), why, nil)
			return false
		}
	}
	if l.o.Implicit {
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		if err := c.StartTLS(ctx); err != nil {
			l.refuse(nc, c.remote.Addr(), HandshakeFailed, err)
			return false
		}
		return true
	}
	return !v.proxied || nc.SetReadDeadline(time.Time{}) == nil
}

// refuse tells a connection why it may not stay, if there are words for it,
// and closes it.
func (l *Listener) refuse(nc net.Conn, a netip.Addr, why Reason, err error) {
	defer nc.Close()
	l.o.Metrics.refused.WithLabelValues(l.o.Part, why.String()).Inc()
	l.o.Log.LogAttrs(context.Background(), slog.LevelDebug, "connection refused",
		slog.String(telemetry.RemoteIP, a.String()), slog.String(telemetry.Reason, why.String()), slog.Any(telemetry.Err, err))
	if l.o.Refuse == nil || l.o.Implicit || why == BadProxyHeader || why == Banned {
		return
	}
	if text := l.o.Refuse(why); len(text) > 0 {
		if nc.SetWriteDeadline(time.Now().Add(refuseTimeout)) == nil {
			nc.Write(text) // whoever does not take it goes without
		}
	}
}
