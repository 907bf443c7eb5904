package delivery

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestLoop_byName: behind a NAT or a balancer this host does not know all of its
// addresses; who greets with its name is it.
func TestLoop_byName(t *testing.T) {
	w := newWorld()
	w.mx("example.org", "first.example.org", "us.example.org", "last.example.org")
	w.server("first.example.org", "192.0.2.1", 25).say["banner"] = "421 later"
	w.server("us.example.org", "192.0.2.2", 25).name = "Breakwater.Example"
	last := w.server("last.example.org", "192.0.2.3", 25)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Busy, "421 later")
	w.mx("example.org", "us.example.org", "last.example.org")
	b.want(b.carry(messageTo("one@example.org")), fate.Bounced, queue.Up, "5.4.6", "calls itself Breakwater.Example", "us.example.org [192.0.2.2]:25")
	b.want(b.carry(messageTo("one@[192.0.2.2]")), fate.Bounced, queue.Up, "5.4.6")
	if last.sessions != 0 {
		t.Error("a host behind us was tried")
	}
	// An inner server may well have the name of the machine that it shares.
	inner := w.server("inner.example", "127.0.0.1", 24)
	inner.name, inner.lmtp = "breakwater.example", true
	m := messageTo("one@example.org")
	m.Recipients[0].Route = "lmtp://127.0.0.1:24"
	b.want(b.carry(m), fate.Delivered, queue.Up)
}

// TestLoop_dressed: an address of ours is ours in any dress.
func TestLoop_dressed(t *testing.T) {
	for _, addr := range []string{"8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"} {
		w := newWorld()
		w.mx("example.org", "mx.example.org")
		w.addr("mx.example.org", addr)
		b := newBench(t, w, Options{SelfAddrs: []netip.Addr{netip.MustParseAddr("8.8.8.8")}})
		b.want(b.carry(messageTo("one@example.org")), fate.Bounced, queue.Up, "5.4.6", "address of ours")
		if len(w.dials) != 0 {
			t.Errorf("%s: dialled %v", addr, w.dials)
		}
	}
}

// rebinding is a DNS whose answers about a host are private from the second on.
type rebinding struct {
	*world
	mu   sync.Mutex
	seen map[dns.Question]bool
}

func (r *rebinding) Lookup(ctx context.Context, q dns.Question) dns.Answer {
	a := r.world.Lookup(ctx, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[q] && len(a.Addrs) > 0 {
		a.Addrs = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}
	r.seen[q] = true
	return a
}

// TestForbidden_rebinding: the address that was judged is the one that is
// dialled, wherever an alias led to and whatever the DNS says next.
func TestForbidden_rebinding(t *testing.T) {
	w := newWorld()
	w.host("example.org", "mx.example.org", "192.0.2.1")
	q := dns.Question{Name: "mx.example.org", Type: dns.A}
	z := w.zone[q]
	z.Target = "alias.example.net"
	w.zone[q] = z
	b := newBench(t, w, Options{MaxMessages: 1})
	b.d.resolver = &rebinding{world: w, seen: map[dns.Question]bool{}}
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
	b.want(b.carry(messageTo("one@example.org")), fate.Bounced, queue.Up, "5.4.4", "127.0.0.1, which is private")
	if got := strings.Join(w.dials, " "); got != "192.0.2.1:25" {
		t.Errorf("dialled %s", got)
	}
}

// TestSecure_refusedInTheClear: where TLS is a must, a refusal in the clear may
// be anybody's, and sends no mail back.
func TestSecure_refusedInTheClear(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.tls = w.certificate(t, "mx.example.org", true)
	h.say["banner"] = "554 go away"
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Bounced, queue.Up, "554 go away")
	w.vouched(h, true)
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "554 go away")
}
