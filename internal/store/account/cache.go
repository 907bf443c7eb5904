package account

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// loginCache remembers successful logins for cacheTTL, so that a client that
// logs in for every fetch costs one hash in that time. It keeps no passwords:
// its keys are HMACs under a key that lives as long as the process. A key
// covers the version of the credentials, so a changed password is never found.
type loginCache struct {
	clock sys.Clock
	key   []byte

	mu      sync.Mutex
	expires map[cacheKey]time.Time // guarded by mu
	order   []cacheKey             // guarded by mu; a ring, oldest at next
	next    int                    // guarded by mu
}

type cacheKey [sha256.Size]byte

func newLoginCache(clock sys.Clock, key []byte) *loginCache {
	return &loginCache{clock: clock, key: key, expires: map[cacheKey]time.Time{}}
}

// keyFor names the event that this password was right for this version of an
// account's credentials.
func (c *loginCache) keyFor(id ID, version uint64, password string) cacheKey {
	h := hmac.New(sha256.New, c.key)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(id))
	binary.BigEndian.PutUint64(b[8:], version)
	h.Write(b[:])
	h.Write([]byte(password))
	return cacheKey(h.Sum(nil))
}

func (c *loginCache) has(k cacheKey) bool {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.expires[k]
	return ok && now.Before(t)
}

// add remembers k from now on. At cacheEntries the oldest goes.
func (c *loginCache) add(k cacheKey) {
	t := c.clock.Now().Add(cacheTTL)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.expires[k]; ok {
		c.expires[k] = t // its place in the ring stays: it may go early
		return
	}
	if len(c.order) < cacheEntries {
		c.order = append(c.order, k)
	} else {
		delete(c.expires, c.order[c.next])
		c.order[c.next] = k
		c.next = (c.next + 1) % cacheEntries
	}
	c.expires[k] = t
}
