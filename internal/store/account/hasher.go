package account

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// hasher lets password hashing have hashMemoryKiB in all, and no more of it
// at once than there are cores.
type hasher struct {
	memory  *semaphore.Weighted
	cores   *semaphore.Weighted
	waiting atomic.Int64
	clock   sys.Clock
	metrics *Metrics
}

func newHasher(clock sys.Clock, m *Metrics) *hasher {
	return &hasher{
		memory:  semaphore.NewWeighted(hashMemoryKiB),
		cores:   semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		clock:   clock,
		metrics: m,
	}
}

// do calls fn when memoryKiB are free. ErrBusy says that too many wait
// already.
func (h *hasher) do(ctx context.Context, memoryKiB uint32, fn func()) error {
	defer func() { h.metrics.waiting.Set(float64(h.waiting.Add(-1))) }()
	n := h.waiting.Add(1)
	h.metrics.waiting.Set(float64(n))
	if n > maxHashWaiting {
		return ErrBusy
	}
	start := h.clock.Now()
	if err := h.cores.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait to hash a password: %w", err)
	}
	defer h.cores.Release(1)
	if err := h.memory.Acquire(ctx, int64(memoryKiB)); err != nil {
		return fmt.Errorf("wait to hash a password: %w", err)
	}
	defer h.memory.Release(int64(memoryKiB))
	fn()
	h.metrics.hashing.Observe(h.clock.Now().Sub(start).Seconds())
	return nil
}
