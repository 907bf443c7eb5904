//go:build race

package sim

// Stride is by how many calls, or cases, a test goes on that would otherwise
// try every one. Under the race detector each costs about ten times as much,
// and what a crash leaves does not depend on it: a part is enough to have all
// code run.
func Stride(n int) int { return n }
