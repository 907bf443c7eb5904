package ban

import (
	"net/netip"
	"time"
	"unique"
)

// homeBits is the length of the shortest prefix that is banned as one source.
const homeBits = 64

// single gives an address as a source.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// home gives the /64 of an IPv6 address, and whether it has one.
func home(a netip.Addr) (netip.Prefix, bool) {
	if !a.Is6() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, homeBits).Masked(), true
}

// isSource tells whether a network can be in a table: an address or a /64.
func isSource(p netip.Prefix) bool { return p.IsSingleIP() || p.Bits() == homeBits }

// table holds sources, addresses and /64s, that each have an end, up to a
// bound, and finds the one that ends first. Nothing in it but the reason is a
// pointer, so that a million entries cost the garbage collector little.
type table struct {
	max   int
	index map[key]uint32 // source to slot
	slots []slot
	free  []uint32
	heap  []uint32 // slots, the one that ends first at 0
}

// key is a source: 17 octets, where a netip.Prefix has 32 and a pointer.
type key struct {
	octets [16]byte
	home   bool // a /64
}

func keyOf(p netip.Prefix) key { return key{p.Addr().As16(), p.Bits() == homeBits} }

type slot struct {
	since  int64 // nanoseconds of Unix time
	until  int64
	why    unique.Handle[string]
	count  uint32
	pos    uint32 // in heap
	epoch  uint32 // the last reading of the kernel's sets that had it
	key    key
	kernel bool // as far as we know it is in the kernel's set
}

func newTable(limit int) table { return table{max: limit, index: map[key]uint32{}} }

func (t *table) len() int { return len(t.heap) }

// get gives the slot of a source, nil if there is none. It is valid until the
// next put or drop.
func (t *table) get(p netip.Prefix) *slot {
	i, ok := t.index[keyOf(p)]
	if !ok {
		return nil
	}
	return &t.slots[i]
}

// put gives the slot of a source, a new one if it has none. When the table is
// full the entry that ends first makes room and is given as evicted.
func (t *table) put(p netip.Prefix, until time.Time) (s *slot, fresh bool, evicted netip.Prefix) {
	if s = t.get(p); s != nil {
		return s, false, netip.Prefix{}
	}
	if t.len() >= t.max {
		evicted = t.slots[t.heap[0]].source()
		t.drop(evicted)
	}
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = uint32(len(t.slots))
		t.slots = append(t.slots, slot{})
	}
	s = &t.slots[i]
	*s = slot{key: keyOf(p), until: until.UnixNano(), pos: uint32(len(t.heap))}
	t.index[s.key] = i
	t.heap = append(t.heap, i)
	t.fix(s.pos)
	return s, true, evicted
}

func (t *table) drop(p netip.Prefix) bool {
	i, ok := t.index[keyOf(p)]
	if !ok {
		return false
	}
	pos, last := t.slots[i].pos, uint32(len(t.heap)-1)
	t.swap(pos, last)
	t.heap = t.heap[:last]
	if pos < last {
		t.fix(pos)
	}
	delete(t.index, t.slots[i].key)
	t.slots[i] = slot{}
	t.free = append(t.free, i)
	return true
}

// end sets the end of an entry.
func (t *table) end(s *slot, until time.Time) {
	s.until = until.UnixNano()
	t.fix(s.pos)
}

// first gives the entry that ends first.
func (t *table) first() *slot {
	if len(t.heap) == 0 {
		return nil
	}
	return &t.slots[t.heap[0]]
}

// ended calls f for the entries whose time is over, until it says no.
func (t *table) ended(now time.Time, f func(*slot) bool) {
	todo := []uint32{0}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if int(p) >= len(t.heap) || !t.slots[t.heap[p]].ended(now) {
			continue
		}
		if !f(&t.slots[t.heap[p]]) {
			return
		}
		todo = append(todo, 2*p+1, 2*p+2)
	}
}

// all calls f for each entry; f may change no ends and drop nothing.
func (t *table) all(f func(*slot)) {
	for _, i := range t.heap {
		f(&t.slots[i])
	}
}

func (t *table) less(a, b uint32) bool {
	return t.slots[t.heap[a]].until < t.slots[t.heap[b]].until
}

func (t *table) swap(a, b uint32) {
	t.heap[a], t.heap[b] = t.heap[b], t.heap[a]
	t.slots[t.heap[a]].pos = a
	t.slots[t.heap[b]].pos = b
}

// fix moves the entry at p to where its end belongs.
func (t *table) fix(p uint32) {
	for p > 0 && t.less(p, (p-1)/2) {
		t.swap(p, (p-1)/2)
		p = (p - 1) / 2
	}
	n := uint32(len(t.heap))
	for {
		c := 2*p + 1
		if c >= n {
			return
		}
		if c+1 < n && t.less(c+1, c) {
			c++
		}
		if !t.less(c, p) {
			return
		}
		t.swap(p, c)
		p = c
	}
}

func (s *slot) source() netip.Prefix {
	a := netip.AddrFrom16(s.key.octets)
	if s.key.home {
		return netip.PrefixFrom(a, homeBits)
	}
	return single(a.Unmap())
}

// ended tells whether the entry's time is over.
func (s *slot) ended(now time.Time) bool { return s.until <= now.UnixNano() }

func (s *slot) entry() Entry {
	return Entry{
		Prefix: s.source(),
		Since:  time.Unix(0, s.since).UTC(), Until: time.Unix(0, s.until).UTC(),
		Why: s.why.Value(), Count: int(s.count), Kernel: s.kernel,
	}
}
