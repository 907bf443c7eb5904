package host

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbageRoom is how much garbage may gather beside what is in use, in
	// octets, before it is collected: as much again as is in use, which is Go's
	// default, up to this.
	garbageRoom = 32 << 20
	// gcPercentMin is the least part of what is in use that may be garbage: a
	// host with much in use would else do little but collect.
	gcPercentMin = 25
	// gcPercentMax is the most, in percent: Go's default.
	gcPercentMax = 100
	// heapLook is the time between two looks at what is in use: a queue of a
	// million is read in two seconds, and what Go has taken from the system
	// for garbage by then it gives back only slowly.
	heapLook = 200 * time.Millisecond
)

// tendHeap keeps the garbage of a large heap small. Most of what such a host
// has in memory is the queue, which has no pointers: to collect more often
// costs little there, and half of the memory would be garbage otherwise. Who
// sets GOGC knows better.
func tendHeap(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(heapLook)
	defer tick.Stop()
	for at := gcPercentMax; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(live)
		if p := gcPercent(live[0].Value.Uint64()); p != at {
			debug.SetGCPercent(p)
			at = p
		}
	}
}

// gcPercent is the part of what is in use that may be garbage.
func gcPercent(live uint64) int {
	return int(min(max(garbageRoom*100/max(live, 1), gcPercentMin), gcPercentMax))
}
