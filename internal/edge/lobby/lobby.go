package lobby

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Lobby is the guests of some addresses.
type Lobby struct {
	o       Options
	pool    *pool
	addrs   []net.Addr
	sockets [][]int        // of each loop
	nls     []net.Listener // of the portable shell

	mu    sync.Mutex
	halls []*hall // guarded by mu; while it serves
}

// Listen binds the addresses. Connections wait in the kernel's queues until
// Serve takes them.
func Listen(o Options) (*Lobby, error) {
	o = o.withDefaults()
	if n := descriptorLimit(); n > 0 {
		o.fit(n)
	}
	l := &Lobby{o: o, pool: &pool{strangers: int64(o.Strangers), budget: o.Budget, tlsGuests: int64(o.TLSGuests)}}
	if !o.Portable && hasEpoll {
		var err error
		l.sockets, l.addrs, err = listenEpoll(&l.o)
		return l, err
	}
	for _, a := range o.Addrs {
		nl, err := net.Listen("tcp", a)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen: %w", err), l.Close())
		}
		l.nls = append(l.nls, nl)
		l.addrs = append(l.addrs, nl.Addr())
	}
	return l, nil
}

// Addrs returns the bound addresses.
func (l *Lobby) Addrs() []net.Addr { return l.addrs }

// Close gives the addresses up. It is for a lobby that never served.
func (l *Lobby) Close() error {
	closeSockets(l.sockets)
	l.sockets = nil
	var errs []error
	for _, nl := range l.nls {
		errs = append(errs, nl.Close())
	}
	l.nls = nil
	return errors.Join(errs...)
}

// Serve receives guests until ctx ends; then those that are there get 421, and
// Serve returns. admit takes over those that pass; it must not block. Serve is
// called once.
func (l *Lobby) Serve(ctx context.Context, gate Gate, admit func(Handover)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ids := listen.NewIDs()
	hall := func() *hall {
		l.mu.Lock()
		defer l.mu.Unlock()
		h := newHall(&l.o, l.pool, gate, ids)
		h.lead = len(l.halls) == 0
		l.halls = append(l.halls, h)
		return h
	}
	if l.sockets == nil {
		return newPortable(&l.o, hall(), l.nls, admit).run(ctx)
	}
	var loops []*loop
	var errs []error
	for i, fds := range l.sockets {
		lp, err := newLoop(&l.o, hall(), fds, admit)
		if err != nil {
			errs = append(errs, err)
			closeSockets(l.sockets[i+1:])
			cancel()
			break
		}
		loops = append(loops, lp)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, lp := range loops {
		wg.Go(func() {
			if err := lp.run(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
				cancel() // one loop alone would leave connections in the others' queues
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// SetMachine changes the options of the dialogue's machine, also for guests who
// are there: what may be offered can change with an inner server.
func (l *Lobby) SetMachine(mo smtp.Options) {
	l.mu.Lock()
	l.o.Machine = mo
	l.mu.Unlock()
	l.eachHall(func(h *hall) { h.setMachine(mo) })
}

// Load returns which parts of Options.Strangers and Options.Budget are in use.
func (l *Lobby) Load() (guests, budget float64) { return l.pool.load() }

func (l *Lobby) eachHall(f func(*hall)) {
	l.mu.Lock()
	halls := slices.Clone(l.halls)
	l.mu.Unlock()
	for _, h := range halls {
		h.mu.Lock()
		f(h)
		h.mu.Unlock()
	}
}

// Stats says how the lobby does.
func (l *Lobby) Stats() Stats {
	p := l.pool
	s := Stats{
		Guests: int(p.guests.Load()), Strangers: l.o.Strangers, States: map[string]int{}, Ranks: map[string]int{},
		Price: p.price.Load(), Budget: p.budget, Sessions: int(p.sessions.Load()), TLS: int(p.tls.Load()),
	}
	l.eachHall(func(h *hall) {
		for st := stageProxy; st < stageCount; st++ {
			s.States[st.String()] += h.stages[st]
		}
		for r := range rankCount {
			s.Ranks[r.String()] += h.ranked[r]
		}
		s.Level = h.level.String()
		t := &h.tally
		s.Arrived += t.arrived
		s.Admitted += t.admitted
		s.Barred += t.barred
		s.Turned += t.turned
		s.Passed += t.passed
		s.Refused += t.refused
		s.Deferred += t.deferred
		s.Evicted += t.evicted
		s.Early += t.early
		s.Octets += t.octets
		s.CPU += time.Duration(t.cpu)
	})
	return s
}

// Guests returns at most n guests, those first that have cost most.
func (l *Lobby) Guests(n int) []GuestInfo {
	var out []GuestInfo
	l.eachHall(func(h *hall) {
		type cost struct {
			slot   uint32
			cpu    uint32
			octets int64
		}
		var all []cost
		for i := range h.slabs {
			for j := range h.slabs[i] {
				if g := &h.slabs[i][j]; g.stage != stageFree {
					all = append(all, cost{uint32(i*slabGuests + j), g.cpu, g.octets})
				}
			}
		}
		slices.SortFunc(all, func(a, b cost) int { return cmp.Or(cmp.Compare(b.cpu, a.cpu), cmp.Compare(b.octets, a.octets)) })
		for _, c := range all[:min(n, len(all))] {
			out = append(out, h.info(c.slot))
		}
	})
	slices.SortStableFunc(out, func(a, b GuestInfo) int { return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(b.Octets, a.Octets)) })
	return out[:min(n, len(out))]
}

// info describes one guest.
func (h *hall) info(slot uint32) GuestInfo {
	g := h.at(slot)
	i := GuestInfo{
		ID: listen.FormatID(g.id), Addr: g.ip(), State: g.stage.String(), Rank: g.rank.String(),
		Since: time.Unix(0, g.nanos(g.since)), Arrived: time.Unix(0, g.arrived),
		Listed: g.flags&flagListed != 0, Faults: faultNames(g.faults), Octets: g.octets,
		CPU: time.Duration(g.cpu), Questions: int(g.asked), Price: guestPrice + cap(g.state),
	}
	if b := h.owed[slot]; b != nil {
		i.Price += int(b.price)
	}
	if g.stage == stageProxy {
		return i
	}
	c := h.open(g)
	i.Helo = c.d.Helo()
	if e := c.d.Envelope(); e != nil {
		i.From = e.From.String()
	}
	if c.named {
		i.From, i.To = c.from.String(), c.to.String()
	}
	return i
}

// charge books the time since the event at hand began on a guest.
func (h *hall) charge(slot, gen uint32, now time.Time) time.Time {
	spent := max(0, now.UnixNano()-h.now)
	h.tally.cpu += uint64(spent)
	if g := h.live(slot, gen); g != nil {
		g.cpu = uint32(min(int64(g.cpu)+spent, 1<<32-1))
	}
	return now
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
