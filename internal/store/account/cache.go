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

	mu    sync.Mutex
	known map[cacheKey]success // guarded by mu
	order []cacheKey           // guarded by mu; a ring, oldest at next
	next  int                  // guarded by mu
}

// success is what is remembered of a login.
type success struct {
	until time.Time
	scope Scope // what the password is for
	app   use   // the app password; the zero value is the account's own
}

type cacheKey [sha256.Size]byte

func newLoginCache(clock sys.Clock, key []byte) *loginCache {
	return &loginCache{clock: clock, key: key, known: map[cacheKey]success{}}
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

// get returns the login that k names, if it is good for a service still. The
// account's own password is good for all.
func (c *loginCache) get(k cacheKey, service Scope) (success, bool) {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.known[k]
	return s, ok && now.Before(s.until) && (s.app == use{} || s.scope&service != 0)
}

// add remembers k from now on. At cacheEntries the oldest goes.
func (c *loginCache) add(k cacheKey, s success) {
	s.until = c.clock.Now().Add(cacheTTL)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[k]; ok {
		c.known[k] = s // its place in the ring stays: it may go early
		return
	}
	if len(c.order) < cacheEntries {
		c.order = append(c.order, k)
	} else {
		delete(c.known, c.order[c.next])
		c.order[c.next] = k
		c.next = (c.next + 1) % cacheEntries
	}
	c.known[k] = s
}
