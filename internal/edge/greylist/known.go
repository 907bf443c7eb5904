package greylist

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 64 // a power of two; so many loops and sessions seldom meet at one lock
	// evictPart of a full shard is forgotten at a time, the oldest, so that
	// looking for them is rare.
	evictPart = 16
)

// stamp is when a name was last seen, in minutes since 1970, times two, plus
// one if a message was accepted.
type stamp uint32

func newStamp(at time.Time, accepted bool) stamp {
	s := stamp(max(at.Unix(), 0)/60) << 1
	if accepted {
		s |= 1
	}
	return s
}

func (s stamp) accepted() bool { return s&1 != 0 }
func (s stamp) minutes() int64 { return int64(s >> 1) }

// known are the pools and networks that passed.
type known struct {
	keep   int64 // minutes
	max    int   // of a shard
	count  atomic.Int64
	shards [shards]shard
}

type shard struct {
	mu sync.RWMutex
	m  map[hash]stamp // guarded by mu
	_  [32]byte       // a cache line each
}

func newKnown(keep time.Duration, entries int) *known {
	k := &known{keep: int64(keep / time.Minute), max: max(entries/shards, 1)}
	for i := range k.shards {
		k.shards[i].m = map[hash]stamp{}
	}
	return k
}

// get returns how a name is known: not at all, as one that came back, or as
// one whose mail was accepted.
func (k *known) get(h hash, now time.Time) (passed, accepted bool) {
	if h == 0 {
		return false, false
	}
	sh := &k.shards[h%shards]
	sh.mu.RLock()
	s, ok := sh.m[h]
	sh.mu.RUnlock()
	if !ok || k.expired(s, now.Unix()/60) {
		return false, false
	}
	return true, s.accepted()
}

func (k *known) expired(s stamp, minute int64) bool { return s.minutes()+k.keep <= minute }

// put remembers a name; acceptance is not unlearnt by a later mere return. It
// tells whether anything changed.
func (k *known) put(h hash, s stamp) bool {
	if h == 0 {
		return false
	}
	sh := &k.shards[h%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old, ok := sh.m[h]
	if ok {
		if old.accepted() && !k.expired(old, s.minutes()) {
			s |= 1
		}
		if s.minutes() < old.minutes() {
			s = stamp(old.minutes())<<1 | s&1
		}
		if s == old {
			return false
		}
		sh.m[h] = s
		return true
	}
	if len(sh.m) >= k.max {
		k.count.Add(-int64(sh.evict(k.max)))
	}
	sh.m[h] = s
	k.count.Add(1)
	return true
}

// worth orders names by what is lost with them: those that merely came back
// go first, so that they can never push out those whose mail was accepted, and
// of each kind those that were not heard of for longest.
func (s stamp) worth() int64 { return int64(s&1)<<32 | s.minutes() }

// evict forgets those that are worth least.
func (sh *shard) evict(most int) int {
	all := make([]int64, 0, len(sh.m))
	for _, s := range sh.m {
		all = append(all, s.worth())
	}
	slices.Sort(all)
	n := max(len(all)-most+1, len(all)/evictPart, 1)
	limit, gone := all[n-1], 0
	for h, s := range sh.m {
		if s.worth() <= limit && gone < n {
			delete(sh.m, h)
			gone++
		}
	}
	return gone
}

// sweep forgets what has expired and tells whether there was any.
func (k *known) sweep(now time.Time) bool {
	minute, any := now.Unix()/60, false
	for i := range k.shards {
		sh := &k.shards[i]
		sh.mu.Lock()
		for h, s := range sh.m {
			if k.expired(s, minute) {
				delete(sh.m, h)
				k.count.Add(-1)
				any = true
			}
		}
		sh.mu.Unlock()
	}
	return any
}

// all copies everything, shard by shard.
func (k *known) all() []knownRecord {
	out := make([]knownRecord, 0, k.count.Load())
	for i := range k.shards {
		sh := &k.shards[i]
		sh.mu.RLock()
		for h, s := range sh.m {
			out = append(out, knownRecord{h, s})
		}
		sh.mu.RUnlock()
	}
	slices.SortFunc(out, func(a, b knownRecord) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}

// knownRecord is a known name as it is saved.
type knownRecord struct {
	name hash
	seen stamp
}
