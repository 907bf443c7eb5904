package lobby

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

// Lobby is the guests of some addresses.
type Lobby struct {
	o         Options
	listeners []net.Listener
}

// Listen binds the addresses. Connections wait in the kernel's queues until
// Serve takes them.
func Listen(o Options) (*Lobby, error) {
	l := &Lobby{o: o.withDefaults()}
	for _, a := range o.Addrs {
		nl, err := net.Listen("tcp", a)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listen: %w", err)
		}
		l.listeners = append(l.listeners, nl)
	}
	return l, nil
}

// Addrs returns the bound addresses.
func (l *Lobby) Addrs() []net.Addr {
	var out []net.Addr
	for _, nl := range l.listeners {
		out = append(out, nl.Addr())
	}
	return out
}

// Close gives the addresses up. It is for a lobby that does not serve.
func (l *Lobby) Close() error {
	for _, nl := range l.listeners {
		nl.Close()
	}
	return nil
}

// Serve receives guests until ctx ends; then those that are there get 421, and
// Serve returns. admit takes over those that pass; it must not block.
func (l *Lobby) Serve(ctx context.Context, gate Gate, admit func(Handover)) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	for _, nl := range l.listeners {
		wg.Go(func() {
			for {
				c, err := nl.Accept()
				if err != nil {
					return
				}
				remote, _ := netip.ParseAddrPort(c.RemoteAddr().String())
				admit(Handover{Conn: c, Remote: remote, Fresh: true, Guest: policy.Guest{Addr: remote.Addr()}, Ended: func() {}})
			}
		})
	}
	wg.Wait()
	return nil
}

// Stats says how the lobby does.
func (l *Lobby) Stats() Stats { return Stats{Strangers: l.o.Strangers, Budget: l.o.Budget} }

// Guests returns at most n guests, those first that have cost most.
func (l *Lobby) Guests(n int) []GuestInfo { return nil }

// Load returns which parts of Options.Strangers and Options.Budget are in use.
func (l *Lobby) Load() (guests, budget float64) { return 0, 0 }
