package lobby

import (
	"bufio"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
)

// TestEpoll_noDescriptors: with too few descriptors for all who wait in the
// kernel's queue, each of them is answered, by a banner or by 421, and the
// loop goes on.
func TestEpoll_noDescriptors(t *testing.T) {
	gate := newFakeGate()
	l, err := Listen(Options{Addrs: []string{"127.0.0.1:0"}, Loops: 1, Hostname: "mx.demo.test"})
	if err != nil {
		t.Fatal(err)
	}
	const clients = 30
	var conns []net.Conn
	for range clients {
		c, err := dialFrom(l, "127.16.0.1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := syscall.Rlimit{Cur: uint64(descriptors(t) + 10), Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Serve(ctx, gate, func(o Handover) { o.Conn.Close() }) }()
	greeted, turned := 0, 0
	for i, c := range conns {
		got, err := reply(bufio.NewReader(c))
		switch {
		case strings.HasPrefix(got, "220"):
			greeted++
		case strings.HasPrefix(got, "421"):
			turned++
		default:
			t.Errorf("client %d: got %q, %v", i, got, err)
		}
	}
	if greeted == 0 || turned == 0 || l.Stats().Turned != uint64(turned) {
		t.Errorf("%d were greeted, %d turned away; stats %+v", greeted, turned, l.Stats())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
