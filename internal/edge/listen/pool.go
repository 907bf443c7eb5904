package listen

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Pool runs the handlers of connections, each on a goroutine of its own, and
// knows which are open. A Listener has one; a lobby's guests that became
// sessions are in another. Its methods may be called concurrently.
type Pool struct {
	part   string
	log    *slog.Logger
	open   prometheus.Gauge
	panics prometheus.Counter
	tls    counters
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[*Conn]struct{} // guarded by mu
}

// NewPool makes a pool whose connections are counted under the name part.
func NewPool(part string, m *Metrics, log *slog.Logger) *Pool {
	return &Pool{
		part: part, log: log, conns: make(map[*Conn]struct{}),
		open: m.open.WithLabelValues(part), panics: m.panics.WithLabelValues(part),
		tls: counters{
			handshakeOK:     m.tls.WithLabelValues(part, "ok").Inc,
			handshakeFailed: m.tls.WithLabelValues(part, "failed").Inc,
		},
	}
}

// Go runs handle on a goroutine of its own and closes the connection when it
// returns or panics; then it calls left.
func (p *Pool) Go(c *Conn, handle, left func()) {
	c.counters = &p.tls
	p.open.Inc()
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	p.wg.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				p.panics.Inc()
				p.log.Error("panic in a connection's handler", telemetry.Conn, c.id,
					telemetry.Err, fmt.Sprint(v), slog.String(telemetry.Reason, string(debug.Stack())))
			}
			c.Close()
			p.open.Dec()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
			left()
		}()
		handle()
	})
}

// Drain waits for all handlers; the connections that are still open after the
// time d are closed. Nothing may be begun meanwhile.
func (p *Pool) Drain(d time.Duration) {
	timer := time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.conns {
			c.raw.Close()
		}
	})
	defer timer.Stop()
	p.wg.Wait()
}
