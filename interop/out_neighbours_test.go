//go:build interop

package interop

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/wire"
)

// neighbours is how many messages wait for each bad destination of
// TestOut_Neighbours.
var neighbours = flag.Int("neighbours", 500, "messages for each bad destination of TestOut_Neighbours; 10000 is what it is made for")

const (
	neighbourGood  = 50                    // messages whose delay is measured, each time
	neighbourTaken = 100                   // messages that the slow host takes until the good ones have arrived
	neighbourPause = 50 * time.Millisecond // of the slow host, before each answer
)

// TestOut_Neighbours has 500 messages wait for a host that refuses connections,
// as many for one that answers none, and for one that takes its time for each
// command: those to a good host, handed in behind all of them, arrive before the
// 101st at the slow one. How long each takes is printed, alone and beside the
// bad ones. When all hosts are well again everything leaves.
func TestOut_Neighbours(t *testing.T) {
	t.Parallel()
	// Each is another host by its address: what has one counts as one host.
	good := startSink(t, "127.0.81.1:0", nil, sinkRules{})
	well := make(chan struct{}) // closed when the slow host is slow no more
	var n atomic.Int64
	slow := startSink(t, "127.0.81.2:0", nil, sinkRules{
		command: func() {
			select {
			case <-well:
			case <-time.After(neighbourPause):
			}
		},
		end: func(*taken) (string, bool) {
			if n.Add(1) > neighbourTaken {
				<-well
			}
			return "", false
		},
	})
	cure := sync.OnceFunc(func() { close(well) })
	t.Cleanup(cure) // before the sink waits for its connections
	dead, hole := reserve(t, "127.0.81.3"), blackHole(t, "127.0.81.4")
	h := startOut(t, soon+"[log]\nlevel = \"warn\"\n[delivery]\nroutes = [\"good.test smtp://"+good.addr+"\", \"slow.test smtp://"+slow.addr+
		"\", \"dead.test smtp://"+dead+"\", \"hole.test smtp://"+hole.addr+"\"]\n")

	alone := h.delays(good, "alone")
	var wg sync.WaitGroup
	bad := []string{"dead.test", "hole.test", "slow.test"}
	for _, domain := range bad {
		wg.Go(func() { h.fill(domain, *neighbours) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	beside := h.delays(good, "beside")
	waiting := h.books().Queued
	if most := int64(2**neighbours + *neighbours - neighbourTaken); waiting < most {
		t.Errorf("%d recipients wait for the bad hosts when the good mail has arrived, want %d", waiting, most)
	}
	t.Logf("delay of good mail alone: %s; beside %d recipients that wait: %s", spread(alone), waiting, spread(beside))

	cure()
	hole.close()
	for _, addr := range []string{dead, hole.addr} {
		startSink(t, addr, nil, sinkRules{})
	}
	b := h.closed()
	if want := int64(2*neighbourGood + len(bad)**neighbours); b.Relayed != want {
		t.Errorf("the books say %+v, want %d relayed", b, want)
	}
}

// delays hands in good mail, one message when the last has arrived, and gives
// the time from its 250 to its arrival.
func (h *outHost) delays(good *sink, name string) (all []time.Duration) {
	h.t.Helper()
	c, err := h.login(0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Quit()
	for i := range neighbourGood {
		to := fmt.Sprintf("%s%d@good.test", name, i)
		if err := c.Send(h.User(0), []string{to}, wire.Stuff(h.note(to))); err != nil {
			h.t.Fatal(err)
		}
		began := time.Now()
		all = append(all, max(0, good.of(h.t, to, 1)[0].at.Sub(began)))
	}
	return all
}

// fill hands in n messages for a domain. It may be called in goroutines.
func (h *outHost) fill(domain string, n int) {
	c, err := h.login(0)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer c.Quit()
	for i := range n {
		to := fmt.Sprintf("r%d@%s", i, domain)
		if err := c.Send(h.User(0), []string{to}, wire.Stuff(h.note(to))); err != nil {
			h.t.Errorf("hand in for %s: %v", to, err)
			return
		}
	}
}

// spread gives the middle and the worst.
func spread(all []time.Duration) string {
	slices.Sort(all)
	return fmt.Sprintf("p50 %.1f ms, worst %.1f ms", float64(all[len(all)/2].Microseconds())/1000, float64(all[len(all)-1].Microseconds())/1000)
}

// hole is an address that answers no SYN.
type hole struct {
	addr  string
	fd    int
	conns []net.Conn // that fill its queue
}

// blackHole is a listener whose queue of connections is full: the kernel drops
// what comes.
func blackHole(t *testing.T, ip string) *hole {
	t.Helper()
	h := &hole{addr: reserve(t, ip)}
	var err error
	if h.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	at := netip.MustParseAddrPort(h.addr)
	if err := errors.Join(unix.SetsockoptInt(h.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(h.fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}), unix.Listen(h.fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until one is not answered
		c, err := net.DialTimeout("tcp", h.addr, time.Second)
		if err != nil {
			return h
		}
		h.conns = append(h.conns, c)
	}
}

func (h *hole) close() {
	for _, c := range h.conns {
		c.Close()
	}
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
	h.conns, h.fd = nil, -1
}
