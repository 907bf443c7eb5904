//go:build unix

package lobby

import "golang.org/x/sys/unix"

// descriptorLimit is how many descriptors the program may have; 0 if that is
// not known.
func descriptorLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return int(min(uint64(r.Cur), 1<<30)) // there are systems where it is "all"
}
