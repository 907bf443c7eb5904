//go:build interop

package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/ban"
)

// The reconnect storm: banned sources that dial again and again, from another
// network namespace than the server's, over a pair of virtual Ethernets.
const (
	stormKey      = "BREAKWATER_INTEROP_STORM" // set in the process that is the sources
	stormTable    = "storm"
	stormPort     = 25
	stormSources4 = 450
	stormSources6 = 50
	stormMinute   = 50_000                 // connections a minute
	stormTime     = 5 * time.Second        // of each of the two halves
	stormDial     = 900 * time.Millisecond // a banned source's patience; the good one has that of a client
	goodEvery     = 50 * time.Millisecond
)

// stormSource gives the address of a source; the last few have IPv6.
func stormSource(i int) netip.Addr {
	if i < stormSources4 {
		return netip.AddrFrom4([4]byte{10, 66, byte(i >> 8), byte(i)})
	}
	a := netip.MustParseAddr("fd66::").As16()
	a[14], a[15] = byte(i>>8), byte(i)
	return netip.AddrFrom16(a)
}

// stormResult is what the sources saw in one half.
type stormResult struct {
	Dialled, Answered  int64 // by the bad sources
	GoodOK, GoodFailed int64
}

// TestBan_reconnectStorm shows what a ban is for: 500 sources that were refused
// dial 50,000 times a minute. Before the ban each costs an accept and a refusal,
// after it the kernel drops the packets and this process has nothing to do.
func TestBan_reconnectStorm(t *testing.T) {
	nft, ip := tool(t, "nft"), tool(t, "ip")
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("IPV6 MISSING: %v", err)
	}
	six.Close()
	l, err := ban.New(ban.Options{Kernel: ban.Require, Table: stormTable, Ports: []uint16{stormPort}, RemoveAtExit: true})
	if err != nil {
		t.Skipf("NO BANS IN THE KERNEL: %v", err)
	}
	runList(t, l)
	sources := startSources(t, ip)
	accepted := acceptLoop(t, l)

	before, cpuBefore := sources.half(t)
	if before.Answered == 0 || accepted.bad.Load() == 0 || before.GoodFailed != 0 {
		t.Fatalf("before the ban: %+v, accepted %d", before, accepted.bad.Load())
	}
	// Of IPv6 one is banned, with its /64: the others have done nothing that was
	// counted, but are the next addresses of the same customer.
	for i := range stormSources4 + 1 {
		a := stormSource(i)
		with := netip.PrefixFrom(a, a.BitLen())
		if a.Is6() {
			with = netip.PrefixFrom(a, 64)
		}
		l.Ban(a, with, "refused twice")
	}
	eventually(t, "all in the kernel", func() bool {
		n := 0
		for _, e := range l.Entries() {
			if e.Kernel {
				n++
			}
		}
		return n == stormSources4+1
	})
	// Connections are accepted in their order: with this one all from before the
	// ban have been counted.
	if !dial("127.0.0.1", "127.0.0.1", toolWait, nil) {
		t.Fatal("the server does not answer this machine")
	}
	accepted.bad.Store(0)
	good := accepted.good.Load()
	after, cpuAfter := sources.half(t)
	dropped := dropCounter(t, nft)

	t.Logf("before the ban: %d dialled, %d answered; %.1f ms of CPU a second (%.0f µs a connection)",
		before.Dialled, before.Answered, cpuBefore*1000, cpuBefore*1e6*stormTime.Seconds()/float64(before.Answered))
	t.Logf("after the ban:  %d dialled, %d answered, %d packets dropped by the kernel; %.1f ms of CPU a second",
		after.Dialled, after.Answered, dropped, cpuAfter*1000)
	t.Logf("the good source: %d of %d before, %d of %d after",
		before.GoodOK, before.GoodOK+before.GoodFailed, after.GoodOK, after.GoodOK+after.GoodFailed)
	if after.Answered != 0 || accepted.bad.Load() != 0 {
		t.Errorf("banned sources: got %d answered, %d accepted, want none", after.Answered, accepted.bad.Load())
	}
	if after.GoodFailed != 0 || accepted.good.Load()-good < after.GoodOK {
		t.Errorf("the good source: got %d failed of %d", after.GoodFailed, after.GoodOK+after.GoodFailed)
	}
	if dropped < after.Dialled {
		t.Errorf("got %d packets dropped, want one at least for each of %d connections", dropped, after.Dialled)
	}
}

func runList(t *testing.T, l *ban.List) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// counts of what the accept loop saw.
type counts struct{ good, bad atomic.Int64 }

// acceptLoop is a server that refuses in the cheapest way there is.
func acceptLoop(t *testing.T, l *ban.List) *counts {
	var n counts
	ln, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", stormPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			a := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			if a == netip.MustParseAddr("10.65.0.2") {
				n.good.Add(1)
				io.WriteString(c, "220 welcome\r\n")
			} else {
				n.bad.Add(1)
				if !l.Banned(a) {
					io.WriteString(c, "554 5.7.1 go away\r\n")
				}
			}
			c.Close()
		}
	}()
	return &n
}

// stormSources is the process of the sources.
type stormSources struct {
	in  io.Writer
	out *bufio.Scanner
}

// startSources starts the sources in a namespace of their own and joins it with
// ours.
func startSources(t *testing.T, ip string) *stormSources {
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestBan_sources$")
	cmd.Env = append(os.Environ(), stormKey+"="+ip)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	for _, args := range []string{
		"link add storm0 type veth peer name storm1",
		fmt.Sprintf("link set storm1 netns %d", cmd.Process.Pid),
		"addr add 10.65.0.1/24 dev storm0", "addr add fd65::1/64 dev storm0 nodad", "link set storm0 up",
		"route add 10.66.0.0/16 via 10.65.0.2", "-6 route add fd66::/64 via fd65::2",
	} {
		run(t, t.TempDir(), ip, strings.Fields(args)...)
	}
	return &stormSources{in: in, out: bufio.NewScanner(out)}
}

// half has the sources dial for stormTime, and gives what they saw and how much
// CPU this process used a second.
func (s *stormSources) half(t *testing.T) (r stormResult, cpu float64) {
	t.Helper()
	began, used := time.Now(), cpuTime(t)
	if _, err := io.WriteString(s.in, "half\n"); err != nil {
		t.Fatal(err)
	}
	for s.out.Scan() {
		if json.Unmarshal(s.out.Bytes(), &r) == nil {
			return r, (cpuTime(t) - used).Seconds() / time.Since(began).Seconds()
		}
		t.Logf("sources: %s", s.out.Text())
	}
	t.Fatalf("the sources ended: %v", s.out.Err())
	return r, 0
}

// cpuTime is what this process used, the goroutines of the test among it.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// dropCounter adds up the counters of our rules, as nft shows them.
func dropCounter(t *testing.T, nft string) (sum int64) {
	out := run(t, t.TempDir(), nft, "list", "chain", "inet", stormTable, "banned")
	for _, m := range regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		sum += n
	}
	return sum
}

// TestBan_sources is the other side of TestBan_reconnectStorm: a process of its
// own, in a namespace of its own.
func TestBan_sources(t *testing.T) {
	ip := os.Getenv(stormKey)
	if ip == "" {
		t.Skip("it is run by TestBan_reconnectStorm")
	}
	in := bufio.NewScanner(os.Stdin)
	for first := true; in.Scan(); first = false {
		if first {
			setup := []string{
				"link set lo up", "addr add 10.65.0.2/24 dev storm1", "addr add fd65::2/64 dev storm1 nodad", "link set storm1 up",
				"route add local 10.66.0.0/16 dev lo", // every address of it is ours
			}
			for i := range stormSources6 {
				setup = append(setup, fmt.Sprintf("addr add %s/128 dev lo nodad", stormSource(stormSources4+i)))
			}
			for _, args := range setup {
				run(t, t.TempDir(), ip, strings.Fields(args)...)
			}
			eventually(t, "the link is up", func() bool {
				return dial("10.65.0.2", "10.65.0.1", stormDial, nil) && dial(stormSource(stormSources4).String(), "fd65::1", stormDial, nil)
			})
		}
		b, err := json.Marshal(reconnect())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s\n", b)
	}
}

// reconnect dials at the storm's rate for stormTime, and as a good source beside.
func reconnect() (r stormResult) {
	var all sync.WaitGroup
	end := time.After(stormTime)
	bad := time.NewTicker(time.Minute / stormMinute)
	defer bad.Stop()
	good := time.NewTicker(goodEvery)
	defer good.Stop()
	began := time.Now()
	for i := 0; ; {
		select {
		case <-end:
			all.Wait()
			return r
		case <-good.C:
			all.Go(func() {
				if dial("10.65.0.2", "10.65.0.1", toolWait, nil) {
					atomic.AddInt64(&r.GoodOK, 1)
				} else {
					atomic.AddInt64(&r.GoodFailed, 1)
				}
			})
		case <-bad.C:
			// A late tick is made up for: the rate is that of the clock.
			for due := int(time.Since(began).Minutes() * stormMinute); i < due; i++ {
				from, to := stormSource(i%(stormSources4+stormSources6)), "10.65.0.1"
				if from.Is6() {
					to = "fd65::1"
				}
				all.Go(func() {
					if dial(from.String(), to, stormDial, &r.Dialled) {
						atomic.AddInt64(&r.Answered, 1)
					}
				})
			}
		}
	}
}

// dial tells whether the server said anything, and counts if it gets as far as
// the first packet: on a busy machine the time may be over before that.
func dial(from, to string, wait time.Duration, count *int64) bool {
	d := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Control: func(string, string, syscall.RawConn) error {
		if count != nil {
			atomic.AddInt64(count, 1)
		}
		return nil
	}}
	c, err := d.Dial("tcp", net.JoinHostPort(to, strconv.Itoa(stormPort)))
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(toolWait))
	b, _ := io.ReadAll(c)
	return len(b) > 0
}
