package dns

import "time"

// Bounds of what is remembered.
const (
	// cacheTTLMax is the longest that an answer is remembered: who watches a
	// change of a record can wait an hour.
	cacheTTLMax = time.Hour
	// cachedOctetsMax is the largest answer that is remembered, so that a
	// bound of the entries is one of the memory.
	cachedOctetsMax = 4096
)

// cache remembers answers for their TTL, the oldest giving way to the newest.
type cache struct {
	ring  []cacheEntry
	hand  int
	index map[Question]int
}

type cacheEntry struct {
	answer Answer
	until  time.Time
}

// newCache makes one of so many entries, nil for none.
func newCache(entries int) *cache {
	if entries <= 0 {
		return nil
	}
	return &cache{ring: make([]cacheEntry, 0, min(entries, 64)), index: make(map[Question]int), hand: -entries}
}

func (c *cache) get(q Question, now time.Time) (Answer, bool) {
	if c == nil {
		return Answer{}, false
	}
	i, ok := c.index[q]
	if !ok || !now.Before(c.ring[i].until) {
		return Answer{}, false
	}
	a := c.ring[i].answer
	a.TTL = min(a.TTL, c.ring[i].until.Sub(now))
	a.Took = 0
	return a, true
}

func (c *cache) put(a Answer, now time.Time) {
	if c == nil || a.TTL <= 0 || octets(&a) > cachedOctetsMax {
		return
	}
	e := cacheEntry{a, now.Add(min(a.TTL, cacheTTLMax))}
	i, ok := c.index[a.Question]
	switch {
	case ok:
		c.ring[i] = e
		return
	case c.hand < 0: // not full yet
		c.ring = append(c.ring, e)
		i = len(c.ring) - 1
		c.hand++
	default:
		i = c.hand
		delete(c.index, c.ring[i].answer.Question)
		c.ring[i] = e
		c.hand = (c.hand + 1) % len(c.ring)
	}
	c.index[a.Question] = i
}

// octets is about what an answer takes.
func octets(a *Answer) int {
	n := len(a.Name) + len(a.Target) + 24*len(a.Addrs) + 16*len(a.Texts) + 16*len(a.Names) + 24*len(a.MX)
	for _, s := range a.Texts {
		n += len(s)
	}
	for _, s := range a.Names {
		n += len(s)
	}
	for _, r := range a.MX {
		n += len(r.Host)
	}
	for _, r := range a.TLSA {
		n += 24 + len(r.Data)
	}
	return n
}
