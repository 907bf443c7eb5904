package dnsbl

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// cacheTTLMin spares a list the same question while a wave lasts, whatever
	// it wishes.
	cacheTTLMin = time.Minute
	// cacheTTLMax is how long one who was taken off a list may be refused.
	cacheTTLMax = time.Hour
	// cacheEntriesDefault is what a wave of 18,000 addresses needs with ten
	// zones, in 4 MiB.
	cacheEntriesDefault = 1 << 18

	cacheShards = 16
	// cacheWays is how many places an entry can be in: a line of the
	// processor's cache.
	cacheWays = 4
)

// cache remembers what zones said of addresses. It is flat memory without
// pointers, of a fixed size; what has to give way is what ends first.
type cache struct {
	seed   maphash.Seed // what is remembered cannot be pushed out on purpose
	start  time.Time
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu      sync.Mutex
	entries []cacheEntry // guarded by mu; a power of two of them
}

// cacheEntry has 16 octets.
type cacheEntry struct {
	key   uint64 // hash of the address, the zone and its epoch
	until uint32 // seconds after the cache's start; 0: free
	hits  uint32 // of the zone's lists
}

func newCache(entries int, now time.Time) *cache {
	each := cacheWays
	for each*cacheShards < entries {
		each *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), start: now}
	for i := range c.shards {
		c.shards[i].entries = make([]cacheEntry, each)
	}
	return c
}

// key names an answer of a zone. Two names that share one of 2^64 keys are
// taken for the same; nobody can look for such.
func (c *cache) key(a netip.Addr, zone int, epoch uint32) uint64 {
	var b [21]byte
	x := a.As16()
	copy(b[:], x[:])
	b[16] = byte(zone)
	binary.LittleEndian.PutUint32(b[17:], epoch)
	return maphash.Bytes(c.seed, b[:])
}

// set gives the places of a key; the shard is locked.
func (s *cacheShard) set(key uint64) []cacheEntry {
	i := key >> 8 & uint64(len(s.entries)-1) &^ (cacheWays - 1)
	return s.entries[i : i+cacheWays]
}

func (c *cache) shard(key uint64) *cacheShard { return &c.shards[key%cacheShards] }

// seconds is the time as entries have it, never 0.
func (c *cache) seconds(now time.Time) uint32 {
	return uint32(max(now.Sub(c.start), 0)/time.Second) + 1
}

func (c *cache) get(key uint64, now time.Time) (hits uint32, ok bool) {
	s, at := c.shard(key), c.seconds(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.set(key) {
		if e.key == key && e.until > at {
			return e.hits, true
		}
	}
	return 0, false
}

func (c *cache) put(key uint64, hits uint32, ttl time.Duration, now time.Time) {
	ttl = min(max(ttl, cacheTTLMin), cacheTTLMax)
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.set(key)
	place := 0
	for i, e := range set {
		if e.key == key {
			place = i
			break
		}
		if e.until < set[place].until {
			place = i
		}
	}
	set[place] = cacheEntry{key: key, until: c.seconds(now) + uint32(ttl/time.Second), hits: hits}
}
