package host

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 8 << 20: 100, 32 << 20: 100, 64 << 20: 50, 80 << 20: 40, 128 << 20: 25, 4 << 30: 25} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d octets in use: %d %%, want %d", live, got, want)
		}
	}
}
