package dns

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/ipv4"
)

// mirror answers every query at once with the flags and no records: a server
// that costs as little as can be. It gives its address.
func mirror(tb testing.TB, flags uint16) netip.AddrPort {
	tb.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	_ = conn.SetReadBuffer(4 << 20)
	go func() {
		p := ipv4.NewPacketConn(conn)
		ms := make([]ipv4.Message, 64)
		for i := range ms {
			ms[i].Buffers = [][]byte{make([]byte, 512)}
		}
		for {
			n, err := p.ReadBatch(ms, 0)
			if err != nil {
				return
			}
			for i := range n {
				b := ms[i].Buffers[0][:ms[i].N]
				b[2], b[3] = byte(flags>>8), byte(flags)
				ms[i].Buffers[0] = b
			}
			if _, err := p.WriteBatch(ms[:n], 0); err != nil {
				return
			}
			for i := range n {
				ms[i].Buffers[0] = ms[i].Buffers[0][:512]
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// BenchmarkAsk is one question and its answer, the server's work included,
// with so many in flight. The metric cpu-ns/op is the process's CPU time.
func BenchmarkAsk(b *testing.B) {
	for _, flying := range []int{1, 16, 256, 2048} {
		b.Run(fmt.Sprint(flying), func(b *testing.B) {
			c, err := New(Options{Servers: []netip.AddrPort{mirror(b, flagAnswer|uint16(NXDomain))}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			names := make([]string, 4096)
			for i := range names {
				names[i] = fmt.Sprintf("%d.%d.2.192.list.example", i&255, i>>8)
			}
			var wg sync.WaitGroup
			slots := make(chan struct{}, flying)
			b.ReportAllocs()
			before := cpu()
			b.ResetTimer()
			done := func(a Answer) {
				if a.Err != nil || a.RCode != NXDomain {
					b.Errorf("got %v %v, want NXDOMAIN", a.RCode, a.Err)
				}
				<-slots
				wg.Done()
			}
			for i := range b.N {
				slots <- struct{}{}
				wg.Add(1)
				c.Ask(Question{Name: names[i%len(names)], Type: A}, done)
			}
			wg.Wait()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
