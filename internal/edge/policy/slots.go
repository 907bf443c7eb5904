package policy

import "sync"

const (
	// slotShards is how many locks a table has: many times the processors,
	// so that two rarely meet.
	slotShards = 64
	// slotWays is how many places a key may have: two cache lines, looked
	// through in some ten nanoseconds.
	slotWays = 8
)

// slots is a table of fixed size from keys to numbers. A number grows with the
// time of its last change, and whoever calls says up to which number a place
// counts as free; when a new key finds none, the one with the smallest number
// is forgotten. So the memory is 16 octets a place, whatever arrives, and is
// taken only when the first key of a shard comes.
type slots struct {
	shards [slotShards]slotShard
	sets   uint64 // of slotWays places, in one shard
}

type slotShard struct {
	mu    sync.Mutex
	sets  [][slotWays]slot // guarded by mu
	_     [32]byte         // keeps the locks on cache lines of their own
	evict uint64           // guarded by mu
}

type slot struct {
	key   uint64 // 0: empty
	value int64
}

// newSlots makes a table of at least n places.
func newSlots(n int) *slots {
	per := uint64(max(1, (n+slotShards*slotWays-1)/(slotShards*slotWays)))
	return &slots{sets: per}
}

// update gives the number of a key to f, or 0 if there is none, and keeps what
// f returns; 0 forgets the key. Places with numbers up to floor are free.
func (t *slots) update(key uint64, floor int64, f func(old int64) int64) {
	s := &t.shards[key%slotShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		s.sets = make([][slotWays]slot, t.sets)
	}
	set := &s.sets[key/slotShards%t.sets]
	place := -1
	for i := range set {
		switch {
		case set[i].key == key:
			old := set[i].value
			if old <= floor {
				old = 0
			}
			set[i].value = f(old)
			if set[i].value == 0 {
				set[i].key = 0
			}
			return
		case place >= 0 && set[place].key == 0:
		case place < 0 || set[i].key == 0 || set[i].value < set[place].value:
			place = i
		}
	}
	v := f(0)
	if v == 0 {
		return
	}
	if set[place].key != 0 && set[place].value > floor {
		s.evict++
	}
	set[place] = slot{key: key, value: v}
}

// peek gives the number of a key, or 0.
func (t *slots) peek(key uint64, floor int64) int64 {
	s := &t.shards[key%slotShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		return 0
	}
	set := &s.sets[key/slotShards%t.sets]
	for i := range set {
		if set[i].key == key && set[i].value > floor {
			return set[i].value
		}
	}
	return 0
}

// forgotten is how many keys had to make room before their time.
func (t *slots) forgotten() uint64 {
	var n uint64
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.evict
		s.mu.Unlock()
	}
	return n
}
