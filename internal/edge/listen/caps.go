package listen

import (
	"net/netip"
	"sync"
)

// caps counts the open connections.
type caps struct {
	maxConns, maxPerAddress, maxPerNetwork int

	mu       sync.Mutex
	total    int                  // guarded by mu
	address  map[netip.Addr]int   // guarded by mu
	networks map[netip.Prefix]int // guarded by mu
}

func newCaps(o *Options) *caps {
	return &caps{
		maxConns: o.MaxConns, maxPerAddress: o.MaxPerAddress, maxPerNetwork: o.MaxPerNetwork,
		address: make(map[netip.Addr]int), networks: make(map[netip.Prefix]int),
	}
}

// network is what counts as one network: an IPv4 /24, an IPv6 /64, which is
// what one customer has at least.
func network(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // fails for the zero Addr only, which is never counted
	return p
}

// enterTotal counts a connection whose address is not known yet.
func (c *caps) enterTotal() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.maxConns {
		return false
	}
	c.total++
	return true
}

func (c *caps) leaveTotal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
}

func counted(a netip.Addr) bool { return a.IsValid() && !a.IsLoopback() }

// enter counts an address; why is set if it is refused.
func (c *caps) enter(a netip.Addr) (why Reason, ok bool) {
	if !counted(a) {
		return 0, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := network(a)
	switch {
	case c.address[a] >= c.maxPerAddress:
		return TooManyOfAddress, false
	case c.networks[n] >= c.maxPerNetwork:
		return TooManyOfNetwork, false
	}
	c.address[a]++
	c.networks[n]++
	return 0, true
}

func (c *caps) leave(a netip.Addr) {
	if !counted(a) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := network(a)
	if c.address[a]--; c.address[a] == 0 {
		delete(c.address, a)
	}
	if c.networks[n]--; c.networks[n] == 0 {
		delete(c.networks, n)
	}
}
