package delivery

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// listenAt has a host of the world at a real Unix socket, which says something
// to the ends of messages.
func (w *world) listenAt(t *testing.T, path, say string) (*host, *net.UnixListener) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{name: "inner.example", lmtp: true, say: map[string]string{".": say}, offers: []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "STARTTLS"}}
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { h.serve(c) })
		}
	})
	return h, l
}

func TestHop_socket(t *testing.T) {
	w := newWorld()
	path := filepath.Join(t.TempDir(), "lmtp")
	h, l := w.listenAt(t, path, "250 2.0.0 one has it|452 4.2.2 two is full|250 2.0.0 taken")
	route, err := ParseRoute("example.org lmtp://" + path)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, w, Options{Routes: []Route{route}})
	t.Cleanup(func() { _ = l.Close() }) // before the bench waits for what is left
	r := b.carry(messageTo("one@example.org", "two@example.org"))
	b.want(r, fate.Delivered, queue.Up, "localhost ["+path+"]", "250 2.0.0 one has it", "none wanted")
	b.wantAt(r, 1, fate.Deferred, "452 4.2.2 two is full")

	m := messageTo("one@example.org") // REQUIRETLS is about networks
	m.RequireTLS = true
	b.want(b.carry(m), fate.Delivered, queue.Up)
	h.mu.Lock()
	sessions := h.sessions
	h.mu.Unlock()
	if sessions != 1 || len(w.dials) != 0 || strings.Contains(h.said(), "REQUIRETLS") || strings.Contains(h.said(), "STARTTLS") {
		t.Errorf("%d sessions, dialled %v, said %s", sessions, w.dials, h.said())
	}

	// An operator's override leads there too, from another domain.
	m = messageTo("one@example.net")
	m.Recipients[0].Route = "lmtp://" + path
	b.want(b.carry(m), fate.Delivered, queue.Up)

	b.d.pool.closeIdle()
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.4.1 Nobody listens at the socket "+path+".")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.4.1 There is no socket "+path)
}

// TestHop_socketRefused: what the system says of a socket becomes what to do
// about it. (Root, as whom tests may run, has every right.)
func TestHop_socketRefused(t *testing.T) {
	p := peer{host: "localhost", hop: &Hop{Scheme: LMTP, Socket: "/run/lmtp"}}
	for errno, want := range map[syscall.Errno]string{
		syscall.EACCES: "its user needs the right to write to it", syscall.EPERM: "its user needs the right",
		syscall.EAGAIN: "As many connections as it takes", syscall.EPROTOTYPE: "The connection failed",
	} {
		f := p.unreached(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", errno)})
		if !strings.Contains(f.reason, want) || f.state != fate.Deferred || (f.health == queue.Busy) != (errno == syscall.EAGAIN) {
			t.Errorf("%v: %+v", errno, f)
		}
	}
}

func TestParseRoute_socket(t *testing.T) {
	r, err := ParseRoute("example.org lmtp:///run/dovecot/lmtp")
	if err != nil || r.Hop.Socket != "/run/dovecot/lmtp" || r.Hop.Host != "" {
		t.Errorf("%+v, %v", r, err)
	}
	if network, addr := r.Hop.Address(); network != "unix" || addr != "/run/dovecot/lmtp" {
		t.Errorf("%s %s", network, addr)
	}
	for _, s := range []string{"example.org lmtp:///run/lmtp tls=require", "example.org lmtp:///run/lmtp tls=no", "example.org smtp:///run/lmtp"} {
		if r, err := ParseRoute(s); err == nil {
			t.Errorf("%s: %+v", s, r)
		}
	}
}
