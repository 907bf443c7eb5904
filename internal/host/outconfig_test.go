package host

import (
	"testing"
	"time"
)

// TestQueueConfig_warn: 0 is never, as its documentation says, and not the
// queue's default.
func TestQueueConfig_warn(t *testing.T) {
	for warn, want := range map[Duration]time.Duration{0: -1, Duration(time.Hour): time.Hour} {
		if got := (&QueueConfig{Warn: warn}).warn(); got != want {
			t.Errorf("%s: got %s", warn, got)
		}
	}
}
