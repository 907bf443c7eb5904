package tlspolicy

import (
	"cmp"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Bounds of what is remembered of MTA-STS.
const (
	// entriesMax policies: few domains have one, and a site of 1,000 people
	// writes to some thousands.
	entriesMax = 20_000
	// entriesOctetsMax of their texts together; one has some 100.
	entriesOctetsMax = 16 << 20
	// failuresMax domains whose policy could not be had are remembered.
	failuresMax = 10_000
	// dueMax policies are refreshed in one round, so that a start after a long
	// time is no burst.
	dueMax = 50
	// ageLeast is for how long a policy is believed whatever it says, so that
	// one of no age is not fetched for each message.
	ageLeast = 5 * time.Minute
)

// entry is a policy that is remembered.
type entry struct {
	domain  message.Domain
	id      string
	policy  *STSPolicy
	fetched time.Time
	used    time.Time // guarded by Policies.mu, as tried
	tried   time.Time // to fetch it anew
	octets  int
}

func (e *entry) expires() time.Time { return e.fetched.Add(max(e.policy.MaxAge, ageLeast)) }

// cache remembers policies, and whose could not be had.
type cache struct {
	entries  map[message.Domain]*entry
	octets   int
	failures map[message.Domain]failure
	dirty    bool // since it was last written
}

type failure struct {
	until time.Time
	why   *Failure
}

func newCache() *cache {
	return &cache{entries: make(map[message.Domain]*entry), failures: make(map[message.Domain]failure)}
}

// get gives a domain's policy, or nil. What is in an entry does not change,
// but for used and tried.
func (c *cache) get(domain message.Domain, now time.Time) *entry {
	e := c.entries[domain]
	if e == nil {
		return nil
	}
	if !now.Before(e.expires()) {
		c.remove(e)
		return nil
	}
	e.used = now
	return e
}

// put takes a policy in and makes room for it.
func (c *cache) put(e *entry) {
	if old := c.entries[e.domain]; old != nil {
		c.remove(old)
	}
	delete(c.failures, e.domain)
	e.octets = len(e.domain) + len(e.id)
	for _, s := range e.policy.MX {
		e.octets += len(s) + 16
	}
	for len(c.entries) > 0 && (len(c.entries) >= entriesMax || c.octets+e.octets > entriesOctetsMax) {
		c.remove(c.oldest())
	}
	c.entries[e.domain] = e
	c.octets += e.octets
	c.dirty = true
}

func (c *cache) remove(e *entry) {
	delete(c.entries, e.domain)
	c.octets -= e.octets
	c.dirty = true
}

// oldest gives the entry that was not used for the longest time.
func (c *cache) oldest() *entry {
	var old *entry
	for _, e := range c.entries {
		if old == nil || e.used.Before(old.used) {
			old = e
		}
	}
	return old
}

// fail remembers why a domain's policy could not be had.
func (c *cache) fail(domain message.Domain, why *Failure, now time.Time) {
	if len(c.failures) >= failuresMax {
		for d, f := range c.failures {
			if !now.Before(f.until) {
				delete(c.failures, d)
			}
		}
	}
	if len(c.failures) >= failuresMax {
		for d := range c.failures { // any one
			delete(c.failures, d)
			break
		}
	}
	c.failures[domain] = failure{until: now.Add(failurePause), why: why}
}

// trouble gives why a domain's policy could not be had a while ago.
func (c *cache) trouble(domain message.Domain, now time.Time) *Failure {
	f, ok := c.failures[domain]
	if !ok {
		return nil
	}
	if !now.Before(f.until) {
		delete(c.failures, domain)
		return nil
	}
	return f.why
}

// due forgets what is over, and gives what should be fetched anew.
func (c *cache) due(now time.Time) []*entry {
	var due []*entry
	for _, e := range c.entries {
		switch {
		case !now.Before(e.expires()):
			c.remove(e)
		case now.Sub(e.used) > refreshUsed || now.Sub(e.tried) < refreshPause:
		case now.Sub(e.fetched) >= min(refreshAge, max(e.policy.MaxAge, ageLeast)/2):
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *entry) int { return a.expires().Compare(b.expires()) })
	due = due[:min(len(due), dueMax)]
	for _, e := range due {
		e.tried = now
	}
	return due
}

func (c *cache) known(now time.Time) []Known {
	var out []Known
	for _, e := range c.entries {
		if now.Before(e.expires()) {
			out = append(out, Known{Domain: e.domain, ID: e.id, Mode: e.policy.Mode, MX: e.policy.MX, Fetched: e.fetched, Expires: e.expires()})
		}
	}
	slices.SortFunc(out, func(a, b Known) int { return cmp.Compare(a.Domain, b.Domain) })
	return out
}
