package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// tcpMax is how many tries over TCP run at once; others wait for their turn
// as long as their time lasts. Each costs a descriptor and a goroutine, and
// only answers that do not fit into a packet need one.
const tcpMax = 32

// tcpRef names a try.
type tcpRef struct {
	slot int32
	gen  uint32
}

// tcpTries are the tries over TCP.
type tcpTries struct {
	mu      sync.Mutex
	running map[tcpRef]context.CancelFunc // guarded by mu
	queue   []tcpTry                      // guarded by mu; each is in flight, which bounds it
	ended   bool                          // guarded by mu
}

// startTCP runs a try, or puts it into the queue.
func (c *Client) startTCP(t tcpTry) {
	c.tcp.mu.Lock()
	defer c.tcp.mu.Unlock()
	switch {
	case c.tcp.ended:
	case len(c.tcp.running) >= tcpMax:
		c.tcp.queue = append(c.tcp.queue, t)
	default:
		ctx, cancel := context.WithCancel(context.Background())
		c.tcp.running[tcpRef{t.slot, t.gen}] = cancel
		c.wg.Go(func() { c.runTCP(ctx, t) })
	}
}

// cancel ends a try or takes it from the queue.
func (ts *tcpTries) cancel(r tcpRef) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if stop, ok := ts.running[r]; ok {
		stop()
		return
	}
	for i, t := range ts.queue {
		if t.slot == r.slot && t.gen == r.gen {
			ts.queue = append(ts.queue[:i], ts.queue[i+1:]...)
			return
		}
	}
}

// end ends all of them.
func (ts *tcpTries) end() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.ended, ts.queue = true, nil
	for _, stop := range ts.running {
		stop()
	}
}

// runTCP runs tries as long as any wait.
func (c *Client) runTCP(ctx context.Context, t tcpTry) {
	for {
		p := exchange(ctx, c.o.Servers[t.server].String(), t.query)
		now := c.o.Clock.Now()
		c.mu.Lock()
		c.m.tcpDone(t.slot, t.gen, p, now)
		c.mu.Unlock()
		c.rouse()

		c.tcp.mu.Lock()
		r := tcpRef{t.slot, t.gen}
		c.tcp.running[r]()
		delete(c.tcp.running, r)
		if len(c.tcp.queue) == 0 || c.tcp.ended {
			c.tcp.mu.Unlock()
			return
		}
		t = c.tcp.queue[0]
		c.tcp.queue = c.tcp.queue[1:]
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(context.Background())
		c.tcp.running[tcpRef{t.slot, t.gen}] = stop
		c.tcp.mu.Unlock()
	}
}

// exchange asks over TCP (RFC 7766); nil if nothing came of it. The end of ctx
// ends it, which is how the machine bounds its time.
func exchange(ctx context.Context, server string, query []byte) []byte {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// Length and query in one segment: some servers read only once.
	packet := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	if _, err := conn.Write(append(packet, query...)); err != nil {
		return nil
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil
	}
	return answer
}
