package policy

import "sync"

// passedMax is how many sessions that passed are remembered until their first
// message: those of some minutes of a busy host.
const passedMax = 1 << 13

// passed remembers the sessions that passed, and what the checks in shadow
// would have done with them. At its bound the oldest is forgotten.
type passed struct {
	mu   sync.Mutex
	mask map[uint64]uint32 // guarded by mu, as all below
	ring []uint64          // keys in the order of their coming
	next int
}

func (p *passed) init() { p.mask = make(map[uint64]uint32) }

// put reports whether the session is new.
func (p *passed) put(key uint64, mask uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.mask[key]; ok {
		p.mask[key] = old | mask
		return false
	}
	p.mask[key] = mask
	if len(p.ring) < passedMax {
		p.ring = append(p.ring, key)
		return true
	}
	delete(p.mask, p.ring[p.next])
	p.ring[p.next] = key
	p.next = (p.next + 1) % passedMax
	return true
}

// has tells whether a session has passed.
func (p *passed) has(key uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.mask[key]
	return ok
}

// take returns the mask of a session that passed, the first time it is called
// for it, and 0 from then on.
func (p *passed) take(key uint64) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	mask := p.mask[key]
	if mask != 0 {
		p.mask[key] = 0
	}
	return mask
}
