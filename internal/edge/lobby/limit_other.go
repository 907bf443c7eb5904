//go:build !unix

package lobby

// descriptorLimit is how many descriptors the program may have; 0: it is not
// known here.
func descriptorLimit() int { return 0 }
