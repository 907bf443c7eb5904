package fate

import (
	"bytes"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// recent has the facts of messages that were accepted lately and of which
// nothing has been said since: most are sent on within moments, and the attempt
// need not ask the tables for what has just been written there.
//
// There are two generations; when the younger one is full the older is dropped.
type recent struct {
	mu         sync.Mutex
	young, old map[journal.LSN][]byte // guarded by mu
	size       int                    // octets in young; guarded by mu
}

// note takes in what a record has said, once the tables say so too.
func (c *recent) note(r journal.Record, us []Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	accepted := false
	for i := range us {
		accepted = accepted || us[i].Fresh && us[i].LSN == r.LSN
		if !us[i].Fresh {
			delete(c.young, us[i].LSN)
			delete(c.old, us[i].LSN)
		}
	}
	if !accepted {
		return
	}
	_ = journal.ParseFields(r.Envelope, func(tag uint64, v []byte) error {
		if tag == tagAccepted && len(v) <= recentBytes/8 {
			c.add(r.LSN, v)
		}
		return nil
	}) // it was parsed before
}

// add keeps the facts of a message. The caller holds mu.
func (c *recent) add(lsn journal.LSN, facts []byte) {
	if c.young == nil || c.size+len(facts) > recentBytes {
		c.young, c.old, c.size = make(map[journal.LSN][]byte), c.young, 0
	}
	c.young[lsn] = bytes.Clone(facts) // the rest of the envelope may go
	c.size += len(facts)
}

// get gives the facts of a message; nil if they are not here.
func (c *recent) get(lsn journal.LSN) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if facts, ok := c.young[lsn]; ok {
		return facts
	}
	return c.old[lsn]
}
