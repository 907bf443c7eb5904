//go:build interop && linux

package ban

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// These tests speak to a real kernel, in a network namespace of their own. Run
// them as root:
//
//	go test -tags interop ./internal/edge/ban
//
// Each has a table and a port of its own, so that they can run side by side.

const (
	seenWait = 50 * time.Second // what is promised within a minute
	lookGap  = 20 * time.Millisecond
	dialWait = 300 * time.Millisecond // a packet that is dropped is never answered
	dropKey  = "BREAKWATER_BAN_TEST"
)

func TestMain(m *testing.M) {
	switch os.Getenv(dropKey) {
	case "root-then-user":
		os.Exit(helperDropped(true))
	case "user":
		os.Exit(helperDropped(false))
	}
	status, ran, err := proc.Isolate()
	if ran {
		os.Exit(status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT IN NAMESPACES OF ITS OWN:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// nftCmd runs Debian's nft; it is what an operator sees.
func nftCmd(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path := "/usr/sbin/nft"
	if _, err := os.Stat(path); err != nil {
		t.Skip("CLIENT MISSING: nft (interop/install clients)")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func held(t *testing.T, table, set string) string {
	t.Helper()
	out, err := nftCmd(t, "list", "set", "inet", table, set)
	if err != nil {
		return ""
	}
	_, elements, _ := strings.Cut(out, "elements = ")
	return elements
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(seenWait); !ok(); <-time.After(lookGap) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, seenWait)
		}
	}
}

// start makes a list with a table of this name and runs it until stop.
func start(t *testing.T, o Options) (l *List, stop func()) {
	t.Helper()
	o.Kernel = Require
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return l, stop
}

// listen gives a port that answers on both families.
func listen(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", "[::]:0")
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
			c.Close()
		}
	}()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// knock dials from an address and tells whether it was let in.
func knock(t *testing.T, from string, port uint16) bool {
	t.Helper()
	to := "127.0.0.1"
	if strings.Contains(from, ":") {
		to = "::1"
	}
	d := net.Dialer{Timeout: dialWait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", net.JoinHostPort(to, fmt.Sprint(port)))
	if err == nil {
		c.Close()
		return true
	}
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("knock from %s: %v", from, err)
	}
	return false
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestKernel_dropsAndProlongs(t *testing.T) {
	for _, a := range []string{"fd66::2", "fd66::3:4", "fd66:0:0:1::2", "fd67::2", "fd67::3"} {
		if out, err := exec.Command("ip", "addr", "add", a+"/128", "dev", "lo", "nodad").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// Who is banned, what is then in the set, who knocks, who is let in.
	for _, c := range []struct{ name, set, bad, in, knocks, good string }{
		{"IPv4", "v4", "127.0.0.66", "127.0.0.66", "127.0.0.66", "127.0.0.67"},
		{"IPv6", "v6_64", "fd66::2", "fd66:: ", "fd66::3:4", "fd66:0:0:1::2"},
		{"IPv6 alone", "v6", "fd67::2", "fd67::2", "fd67::2", "fd67::3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := "prolong_" + c.set
			port, other := listen(t), listen(t)
			l, _ := start(t, Options{Table: table, Timeout: 3 * time.Second, Ports: []uint16{port, 1}})
			if !knock(t, c.bad, port) {
				t.Fatal("not let in before the ban")
			}
			if c.set == "v6" {
				l.Authenticated(addr(c.good))
			}
			ban(l, addr(c.bad), "test")
			eventually(t, "in the kernel's set", func() bool { return strings.Contains(held(t, table, c.set), c.in) })
			for end := time.Now().Add(6 * time.Second); time.Now().Before(end); <-time.After(time.Second) {
				if knock(t, c.knocks, port) {
					t.Fatal("let in although each of its packets prolongs the ban")
				}
				if !knock(t, c.good, port) {
					t.Fatal("a good source was dropped")
				}
				if !knock(t, c.knocks, other) {
					t.Fatal("dropped at a port that is not ours")
				}
			}
			// Dialling started the time afresh; now it runs out by itself.
			eventually(t, "let in again", func() bool {
				if strings.Contains(held(t, table, c.set), c.in) {
					return false
				}
				return knock(t, c.knocks, port)
			})
			eventually(t, "gone from the list", func() bool { return len(l.Entries()) == 0 })
		})
	}
}

func TestKernel_takesOver(t *testing.T) {
	t.Parallel()
	const table = "takeover"
	nets := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("255.255.255.0/24")}
	l, stop := start(t, Options{Table: table})
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:2::1"} {
		ban(l, addr(a), "test")
	}
	l.Ban(addr("2001:db8:3::1"), single(addr("2001:db8:3::1")), "test")
	for _, p := range nets {
		if err := l.Add(p, "test", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	stop()

	never := []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("2001:db8:2::9/128")}
	// Another time makes other sets: what was in the old ones is kept.
	for _, timeout := range []time.Duration{10 * time.Minute, 20 * time.Minute} {
		l, stop = start(t, Options{Table: table, Never: never, Timeout: timeout})
		var got []string
		for _, e := range l.Entries() {
			if e.Why != whyBefore {
				t.Errorf("%s: got reason %q, want %q", e.Prefix, e.Why, whyBefore)
			}
			got = append(got, e.Prefix.String())
		}
		slices.Sort(got)
		want := []string{"192.0.2.1/32", "2001:db8:1::/48", "2001:db8:3::1/128", "2001:db8::/64", "203.0.113.0/24", "255.255.255.0/24"}
		if !slices.Equal(got, want) {
			t.Errorf("taken over: got %q, want %q", got, want)
		}
		eventually(t, "what is exempt gone from the kernel", func() bool {
			in, homes := held(t, table, "v4"), held(t, table, "v6_64")
			return strings.Contains(in, "192.0.2.1 ") && !strings.Contains(in, "192.0.2.2") &&
				strings.Contains(homes, "2001:db8:: ") && !strings.Contains(homes, "2001:db8:2::")
		})
		eventually(t, "networks there", func() bool {
			in := held(t, table, "net4")
			return strings.Contains(in, "203.0.113.0/24 ") && strings.Contains(in, "255.255.255.0/24 ")
		})
		stop()
	}
}

// TestKernel_takesOverOlder: a table of a host that banned no /64s is made anew,
// and what it held is kept.
func TestKernel_takesOverOlder(t *testing.T) {
	t.Parallel()
	const table = "older"
	for _, args := range []string{
		"add table inet older",
		"add set inet older v6 { type ipv6_addr; flags dynamic,timeout; timeout 10m; }",
		"add element inet older v6 { 2001:db8::7 timeout 10m expires 5m }",
	} {
		if out, err := nftCmd(t, strings.SplitN(args, " ", 6)...); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
	l, _ := start(t, Options{Table: table})
	if e := l.Entries(); len(e) != 1 || e[0].Prefix != netip.MustParsePrefix("2001:db8::7/128") || e[0].Why != whyBefore {
		t.Errorf("taken over: got %+v", e)
	}
	ban(l, addr("2001:db8::8"), "test")
	eventually(t, "both in the kernel", func() bool {
		return strings.Contains(held(t, table, "v6"), "2001:db8::7 ") && strings.Contains(held(t, table, "v6_64"), "2001:db8:: ")
	})
}

func TestKernel_networks(t *testing.T) {
	t.Parallel()
	const table = "networks"
	l, _ := start(t, Options{Table: table, Never: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/28")}})
	add := func(p string) error { return l.Add(netip.MustParsePrefix(p), "by hand", time.Hour) }
	if err := add("198.51.100.0/24"); err == nil || !strings.Contains(err.Error(), "198.51.100.0/28") {
		t.Errorf("a network with an exempt one in it: got error %v", err)
	}
	for _, p := range []string{"203.0.113.0/24", "203.0.112.0/20", "203.0.113.7/32"} {
		if err := add(p); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the widest in the kernel", func() bool { return strings.Contains(held(t, table, "net4"), "203.0.112.0/20 ") })
	l.Authenticated(addr("203.0.113.7"))
	eventually(t, "a hole for who logged in", func() bool {
		in := held(t, table, "net4")
		return strings.Contains(in, "203.0.113.6 ") && !strings.Contains(in, "203.0.113.7") && strings.Contains(in, "203.0.120.0/21 ")
	})
	if ended, err := l.Remove(netip.MustParsePrefix("203.0.112.0/20")); len(ended) != 1 || err != nil {
		t.Errorf("remove: got %v, %v", ended, err)
	}
	eventually(t, "the narrower without the wider", func() bool {
		in := held(t, table, "net4")
		return !strings.Contains(in, "203.0.120.0/21") && strings.Contains(in, "203.0.113.128/25 ")
	})
}

func TestKernel_removesAtExit(t *testing.T) {
	t.Parallel()
	const table = "atexit"
	l, stop := start(t, Options{Table: table, RemoveAtExit: true})
	ban(l, addr("192.0.2.1"), "test")
	eventually(t, "in the kernel's set", func() bool { return strings.Contains(held(t, table, "v4"), "192.0.2.1") })
	stop()
	if out, err := nftCmd(t, "list", "table", "inet", table); err == nil {
		t.Errorf("the table is there after the end:\n%s", out)
	}
}

func TestKernel_manyInBatches(t *testing.T) {
	const table, n = "many", 10_000
	l, _ := start(t, Options{Table: table})
	began := time.Now()
	for i := range n {
		ban(l, netip.AddrFrom4([4]byte{10, 66, byte(i >> 8), byte(i)}), "test")
	}
	asked := time.Since(began)
	count := func() (n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.m.bans.all(func(s *slot) {
			if s.kernel {
				n++
			}
		})
		return n
	}
	eventually(t, "all in the kernel", func() bool { return count() == n })
	took := time.Since(began)
	if got := strings.Count(held(t, table, "v4"), "expires"); got != n {
		t.Errorf("got %d in the kernel's set, want %d", got, n)
	}
	began = time.Now()
	missing, err := l.read(t.Context(), whyOther)
	if missing != 0 || err != nil {
		t.Errorf("read back: got %d missing, error %v", missing, err)
	}
	t.Logf("%d bans: asked for in %s, in the kernel after %s (of which %s of waiting), read back in %s",
		n, asked.Round(time.Microsecond), took.Round(time.Millisecond), gather, time.Since(began).Round(time.Microsecond))
}

func TestKernel_oldestOut(t *testing.T) {
	t.Parallel()
	const table, limit = "oldest", 100
	l, _ := start(t, Options{Table: table, Max: limit})
	for i := range 5 * limit {
		ban(l, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), "test")
		if i%50 == 49 {
			<-time.After(gather)
		}
	}
	eventually(t, "the latest alone in the kernel", func() bool {
		in := held(t, table, "v4")
		return strings.Count(in, "expires") == limit && strings.Contains(in, "10.1.1.243 ") && !strings.Contains(in, "10.1.0.1 ")
	})
}

func TestKernel_mendsWhatOthersChange(t *testing.T) {
	for i, change := range [][]string{
		{"delete", "table", "inet", "mend_0"},
		{"flush", "table", "inet", "mend_1"},
		{"flush", "set", "inet", "mend_2", "v4"},
		{"flush", "set", "inet", "mend_3", "net4"},
	} {
		t.Run(strings.Join(change[:2], " "), func(t *testing.T) {
			t.Parallel()
			table := fmt.Sprintf("mend_%d", i)
			port := listen(t)
			l, _ := start(t, Options{Table: table, Ports: []uint16{port}})
			from := fmt.Sprintf("127.0.1.%d", i+1)
			if change[1] == "set" && change[4] == "net4" {
				if err := l.Add(netip.MustParsePrefix(from+"/32"), "test", time.Hour); err != nil {
					t.Fatal(err)
				}
			} else {
				ban(l, addr(from), "test")
			}
			eventually(t, "dropped", func() bool { return !knock(t, from, port) })
			if out, err := nftCmd(t, change...); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !knock(t, from, port) {
				t.Fatal("dropped although there is nothing to drop it")
			}
			eventually(t, "dropped again", func() bool { return !knock(t, from, port) })
			if up, why := l.State(); !up {
				t.Errorf("state: got down (%s), want up", why)
			}
		})
	}
}

// TestKernel_twoHosts: the second leaves the first's table alone, and takes it
// when the first has gone.
func TestKernel_twoHosts(t *testing.T) {
	t.Parallel()
	const table = "twice"
	first, stop := start(t, Options{Table: table})
	ban(first, addr("192.0.2.1"), "test")
	eventually(t, "in the kernel's set", func() bool { return strings.Contains(held(t, table, "v4"), "192.0.2.1") })
	second, err := New(Options{Table: table})
	if err != nil {
		t.Fatal(err)
	}
	if up, why := second.State(); up || !strings.Contains(why, "another host") {
		t.Fatalf("the second host: got %v, %q", up, why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = second.Run(ctx) }()
	defer func() { cancel(); <-done }()
	stop()
	eventually(t, "the second has the table", func() bool {
		up, _ := second.State()
		return up && second.Len() == 1
	})
}

// TestKernel_withoutUpdate is a kernel that cannot prolong by packets.
func TestKernel_withoutUpdate(t *testing.T) {
	t.Parallel()
	const table = "still"
	port := listen(t)
	l, _ := start(t, Options{Table: table, Ports: []uint16{port}})
	k := l.kernel.(*nft)
	if err := k.thread.do(t.Context(), func() error { _, err := k.buildTable(true); return err }); err != nil {
		t.Fatal(err)
	}
	ban(l, addr("127.0.0.99"), "test")
	eventually(t, "dropped", func() bool { return !knock(t, "127.0.0.99", port) })
	// Banned once more it has its whole time again, whatever the kernel.
	<-time.After(2 * time.Second)
	ban(l, addr("127.0.0.99"), "test")
	eventually(t, "afresh", func() bool { return strings.Contains(held(t, table, "v4"), "expires 9m59s") })
}

// helperDropped is a host as another process: it makes the list as root, or as
// a user, becomes a user, and bans.
func helperDropped(asRoot bool) int {
	const nobody = 65534
	fail := func(err error) int { fmt.Println(err); return 1 }
	become := func() error {
		return errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
	}
	if !asRoot {
		if err := become(); err != nil {
			return fail(err)
		}
	}
	l, err := New(Options{Table: "dropped"})
	if err != nil {
		return fail(err)
	}
	if asRoot {
		if err := become(); err != nil {
			return fail(err)
		}
	}
	if syscall.Setuid(0) == nil {
		return fail(errors.New("root again"))
	}
	up, why := l.State()
	fmt.Printf("kernel %v, why %q\n", up, why)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	ban(l, addr("192.0.2.1"), "test")
	for range 100 {
		if e := l.Entries(); len(e) == 1 && (e[0].Kernel || !up) {
			break
		}
		<-time.After(lookGap)
	}
	tasks, _ := os.ReadDir("/proc/self/task")
	var caps []string
	for _, task := range tasks {
		b, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		_, eff, _ := strings.Cut(string(b), "CapPrm:\t")
		eff, _, _ = strings.Cut(eff, "\n")
		caps = append(caps, eff)
	}
	slices.Sort(caps)
	fmt.Printf("kernel bans %v\npermitted %v\n", l.Entries()[0].Kernel, slices.Compact(caps))
	if syscall.Setuid(0) == nil {
		return fail(errors.New("root again"))
	}
	cancel()
	<-done
	return 0
}

func TestKernel_afterRootIsGivenUp(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[string]string{
		"root-then-user": "kernel true, why \"\"\nkernel bans true\npermitted [0000000000000000 0000000000001000]\n",
		"user":           "kernel false, why \"CAP_NET_ADMIN is missing\"\nkernel bans false\npermitted [0000000000000000]\n",
	} {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), dropKey+"="+role)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: got %v and\n%s\nwant\n%s", role, err, out, want)
		}
	}
	if !strings.Contains(held(t, "dropped", "v4"), "192.0.2.1") {
		t.Errorf("the ban is not in the kernel's set")
	}
}
