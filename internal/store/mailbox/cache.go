package mailbox

import "sync"

// cache keeps hot lists that nobody uses, the last used first, within
// cachedEntriesMax and cachedListsMax.
type cache struct {
	mu      sync.Mutex // before box.mu
	entries int
	order   []cached // the one used longest ago first
}

type cached struct {
	b *box
	n int
}

// add takes a list that nobody uses any more.
func (c *cache) add(b *box, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(b)
	c.order = append(c.order, cached{b, n})
	c.entries += n
	for len(c.order) > 0 && (c.entries > cachedEntriesMax || len(c.order) > cachedListsMax) {
		old := c.order[0].b
		c.drop(old)
		old.mu.Lock()
		if old.users == 0 {
			old.hot = nil
		}
		old.mu.Unlock()
	}
}

// remove takes a list out, since somebody uses it.
func (c *cache) remove(b *box) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(b)
}

// drop forgets b, if it is there. c.mu is held.
func (c *cache) drop(b *box) {
	for i, o := range c.order {
		if o.b == b {
			c.entries -= o.n
			c.order = append(c.order[:i], c.order[i+1:]...)
			return
		}
	}
}

// clear drops all lists that nobody uses.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.order {
		o.b.mu.Lock()
		if o.b.users == 0 {
			o.b.hot = nil
		}
		o.b.mu.Unlock()
	}
	c.entries, c.order = 0, nil
}

// DropCaches forgets the message lists of mailboxes that nobody has open: under
// memory pressure, and to measure what reading them costs.
func (s *Store) DropCaches() { s.hot.clear() }
