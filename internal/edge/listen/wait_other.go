//go:build !unix

package listen

import "syscall"

const canWait = false

// readSocket is never called here.
func readSocket(uintptr, []byte) (int, error) { return 0, syscall.EINVAL }
