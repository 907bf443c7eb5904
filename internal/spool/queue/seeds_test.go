package queue

import (
	"os"
	"strconv"
	"testing"
)

// seeds is how many seeds a simulation runs: SEEDS of the environment, else n.
func seeds(t *testing.T, n int) int {
	s := os.Getenv("SEEDS")
	if s == "" {
		return n
	}
	k, err := strconv.Atoi(s)
	if err != nil || k < 1 {
		t.Fatalf("SEEDS=%q is no number", s)
	}
	return k
}
