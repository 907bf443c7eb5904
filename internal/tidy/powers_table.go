package tidy

// Grants are the powers over the world, and why each is held.
func Grants() []Grant {
	return []Grant{
		{"base/sys", "os", "it is the door to the file system"},
		{"base/sys", "syscall", "fdatasync, pwritev, flock, statfs and O_DIRECT are calls of the system"},
		{"base/sys", "unsafe", "buffers of O_DIRECT and of pwritev are given by address"},
		{"base/sys", "now", "it is the door to the clock"},
		{"base/sys", "rand", "it is the door to randomness"},
		{"tidy", "os", "reads the tree it checks"},
	}
}
