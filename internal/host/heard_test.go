package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// TestHearing: only who is known to have written to an account is no stranger to
// it. Whoever writes in another's name makes that one known to nobody.
func TestHearing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		h := &hearing{
			trusted: func(a netip.Addr) bool { return netip.MustParsePrefix("10.0.0.0/8").Contains(a.Unmap()) }, waits: make(chan arrival, 100), log: slog.New(slog.DiscardHandler),
			passes:  func(_ context.Context, a arrival) bool { return a.ip == netip.MustParseAddr("192.0.2.1") },
			strange: func(id account.ID, _ message.Address) bool { return id != 3 },
			heard:   func(id account.ID, from message.Address) { heard = append(heard, fmt.Sprint(id, " ", from)) },
		}
		for n, ip := range []string{"192.0.2.1", "192.0.2.2", "10.1.1.1", "::ffff:10.1.1.2", "192.0.2.1"} {
			from := message.Address{Local: fmt.Sprint("a", n), Domain: "b.example"}
			if n == 4 {
				from = message.Address{}
			}
			h.note(arrival{ip: netip.MustParseAddr(ip), from: from, to: []account.ID{1, 3}})
		}
		h.note(arrival{ip: netip.MustParseAddr("192.0.2.1"), from: message.Address{Local: "a", Domain: "b.example"}, to: []account.ID{3}})
		if len(h.waits) != 4 {
			t.Errorf("%d wait", len(h.waits))
		}
		for len(h.waits) > 0 {
			h.check(t.Context(), <-h.waits)
		}
		if want := []string{"1 a0@b.example", "1 a2@b.example", "1 a3@b.example"}; !slices.Equal(heard, want) {
			t.Errorf("heard %q, want %q", heard, want)
		}
		// It never waits, and ends with its context.
		for range 2 * cap(h.waits) {
			h.note(arrival{ip: netip.MustParseAddr("192.0.2.9"), from: message.Address{Local: "a", Domain: "b.example"}, to: []account.ID{1}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.run(ctx) }()
		synctest.Wait()
		if len(h.waits) != 0 || len(heard) != 3 {
			t.Errorf("%d wait, heard %q", len(h.waits), heard)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
