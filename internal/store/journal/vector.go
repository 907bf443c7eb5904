package journal

const (
	// arenaBlock is the unit in which a group's memory for headers and
	// envelopes grows.
	arenaBlock = 256 << 10
	// copyMax is the longest piece that is cheaper to copy than to give
	// to the kernel as a buffer of its own.
	copyMax = 1 << 10
)

// vector gathers what one group writes: headers and envelopes in memory of its
// own, bodies where they are. It is used again for each group.
type vector struct {
	bufs   [][]byte
	size   int64
	blocks [][]byte
	block  int  // the one in use
	off    int  // used of it
	open   bool // the last of bufs ends there
}

func (v *vector) reset() {
	clear(v.bufs)
	v.bufs = v.bufs[:0]
	v.size, v.block, v.off, v.open = 0, 0, 0, false
}

// grow gives n bytes of memory that are part of what is written. They hold
// leftovers.
func (v *vector) grow(n int) []byte {
	v.size += int64(n)
	for v.block < len(v.blocks) && len(v.blocks[v.block])-v.off < n {
		v.block, v.off, v.open = v.block+1, 0, false
	}
	if v.block == len(v.blocks) {
		v.blocks = append(v.blocks, make([]byte, max(n, arenaBlock)))
		v.off, v.open = 0, false
	}
	b := v.blocks[v.block][v.off : v.off+n]
	v.off += n
	if last := len(v.bufs) - 1; v.open {
		v.bufs[last] = v.bufs[last][:len(v.bufs[last])+n]
	} else {
		v.bufs = append(v.bufs, b)
		v.open = true
	}
	return b
}

// add appends bytes that nobody changes until they are written.
func (v *vector) add(b []byte) {
	if len(b) <= copyMax {
		copy(v.grow(len(b)), b)
		return
	}
	v.bufs = append(v.bufs, b)
	v.size += int64(len(b))
	v.open = false
}

// trim gives memory back that only an unusual group needed.
func (v *vector) trim() {
	for i, b := range v.blocks {
		if i >= 4 || len(b) > arenaBlock {
			v.blocks = v.blocks[:i]
			return
		}
	}
}
