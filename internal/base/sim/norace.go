//go:build !race

package sim

// Stride is by how many calls, or cases, a test goes on that would otherwise
// try every one: one, but n under the race detector.
func Stride(int) int { return 1 }
