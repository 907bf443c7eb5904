package intake

import "bytes"

// hopCounter counts the Received fields in a header that passes through it in
// pieces of any size. It stops looking at the end of the header.
type hopCounter struct {
	received int
	line     [len(receivedName)]byte // how the current line begins
	n        int                     // octets of the current line, at most len(line)+1
	done     bool
}

const receivedName = "received:"

// write looks at the next octets.
func (h *hopCounter) write(p []byte) {
	for len(p) > 0 && !h.done {
		if h.n > len(h.line) { // decided: skip to the line's end
			end := bytes.IndexByte(p, '\n')
			if end < 0 {
				return
			}
			p, h.n = p[end+1:], 0
			continue
		}
		c := p[0]
		p = p[1:]
		switch {
		case c == '\n':
			h.done = h.n == 0 || h.n == 1 && h.line[0] == '\r'
			h.n = 0
		case h.n == len(h.line):
			h.n++
		default:
			h.line[h.n] = c
			h.n++
			if h.n == len(h.line) && bytes.EqualFold(h.line[:], []byte(receivedName)) {
				h.received++
			}
		}
	}
}
