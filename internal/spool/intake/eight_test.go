package intake

import "testing"

// An 8-bit octet is found wherever it stands.
func TestHasEightBit(t *testing.T) {
	for size := range 20 {
		p := make([]byte, size)
		if hasEightBit(p) {
			t.Errorf("one in %d octets that have none", size)
		}
		for at := range p {
			p[at] = 0x80
			if !hasEightBit(p) {
				t.Errorf("none in %d octets, and it is at %d", size, at)
			}
			p[at] = 0x7f
		}
	}
}
