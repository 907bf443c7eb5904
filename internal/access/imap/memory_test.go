package imap

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// idleCost is how many bytes of heap and stacks n connections cost that open
// made.
func idleCost(n int, open func()) int {
	use := func() uint64 {
		runtime.GC()
		runtime.GC() // the second shrinks the stacks that the first one scanned
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := use()
	for range n {
		open()
	}
	return int(int64(use()-before)) / n
}

// TestSession_IdleMemory compares idling sessions under TLS with connections
// under TLS that a goroutine waits on and nothing else: what we add must leave
// the whole below 35 KB, of which crypto/tls has about 25.
func TestSession_IdleMemory(t *testing.T) {
	const n, most = 100, 7 << 10
	h := newHouse(t, Options{SessionsPerUser: n})
	defer h.close()
	for range 100 {
		h.append(1, "INBOX", "Subject: x\r\n\r\n", time.Time{})
	}
	addr, config := h.listen(true)
	bare := h.bareTLS()
	var conns []net.Conn
	var mu sync.Mutex
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	connect := func(addr string, script string) {
		c, err := tls.Dial("tcp", addr, config)
		h.must(err)
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
		_, err = c.Write([]byte(script))
		h.must(err)
		// Read to the end of what the server says.
		b := make([]byte, 8192)
		for got := 0; ; {
			k, err := c.Read(b[got:])
			h.must(err)
			if got += k; b[got-1] == '\n' && got > 6 && string(b[got-8:got]) == "idling\r\n" {
				return
			}
		}
	}
	script := "a LOGIN one secret\r\nb SELECT INBOX\r\nc FETCH 1:* FLAGS\r\nd IDLE\r\n"
	connect(addr, script)
	base := idleCost(n-1, func() { connect(bare, script) })
	ours := idleCost(n-1, func() { connect(addr, script) })
	t.Logf("a bare TLS pair costs %d bytes, one with an IMAP session %d", base, ours)
	if ours-base > most {
		t.Errorf("an idle session costs %d bytes beside TLS, may cost %d", ours-base, most)
	}
}

// bareTLS answers the first bytes of each connection with "+ idling" and
// waits for more.
func (h *house) bareTLS() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	h.tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var b [parkedBuffer]byte
				t := tls.Server(c, h.config)
				t.Read(b[:])
				t.Write([]byte("+ idling\r\n"))
				for {
					if _, err := t.Read(b[:]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkIdleNotice is the time from an APPEND's call to the EXISTS that an
// idling client gets.
func BenchmarkIdleNotice(b *testing.B) {
	h := newDiskHouse(b, Options{})
	defer h.close()
	addr, config := h.listen(true)
	c := tlsClient(b, addr, config)
	defer c.c.Close()
	c.do("SELECT INBOX")
	c.write("x IDLE\r\n")
	c.line()
	for b.Loop() {
		h.append(1, "INBOX", "Subject: x\r\n\r\nhello\r\n", time.Time{})
		c.line()
	}
}
