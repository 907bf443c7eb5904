package account

import (
	"maps"
	"sync"
	"time"
)

// uses remembers when app passwords were last used until that is written: one
// entry for each at most.
type uses struct {
	mu sync.Mutex
	m  map[use]time.Time // guarded by mu; to the minute
}

// use names an app password; one that was removed and made again under the
// same name is another.
type use struct {
	id      ID
	name    string
	created int64
}

func useOf(id ID, a AppPassword) use { return use{id, a.Name, seconds(a.Created)} }

func (u *uses) note(k use, t time.Time) {
	t = t.UTC().Truncate(time.Minute)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.m == nil {
		u.m = map[use]time.Time{}
	}
	if t.After(u.m[k]) {
		u.m[k] = t
	}
}

func (u *uses) last(k use) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.m[k]
}

func (u *uses) all() map[use]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.m)
}

// forget drops what has been written, unless there is a newer use.
func (u *uses) forget(done map[use]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, t := range done {
		if u.m[k].Equal(t) {
			delete(u.m, k)
		}
	}
}
