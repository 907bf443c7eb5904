package delivery

import (
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

// note remembers it. What is too much is forgotten: it is found out again.
func (r *recent) note(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
