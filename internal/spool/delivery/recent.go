package delivery

import (
	"maps"
	"sync"
	"time"
)

// recent remembers for a while what went wrong somewhere.
type recent struct {
	keep time.Duration

	mu    sync.Mutex
	until map[string]time.Time // guarded by mu
}

// is reports whether it went wrong lately.
func (r *recent) is(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Before(r.until[key])
}

// note remembers it. Where there is too much, what is over is forgotten, and if
// that is not enough, all: it is found out again.
func (r *recent) note(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.until) >= recentMax {
		maps.DeleteFunc(r.until, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if r.until == nil || len(r.until) >= recentMax {
		r.until = map[string]time.Time{}
	}
	r.until[key] = now.Add(r.keep)
}

// forget is for what works again.
func (r *recent) forget(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, key)
}
