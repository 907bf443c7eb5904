//go:build unix

package listen

import "syscall"

const canWait = true

// readSocket reads what is there without waiting.
func readSocket(fd uintptr, b []byte) (int, error) {
	n, err := syscall.Read(int(fd), b)
	if n < 0 {
		n = 0
	}
	return n, err
}
