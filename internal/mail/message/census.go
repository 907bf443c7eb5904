package message

import "bytes"

// census counts what is wrong, one entry a kind, so that its size does not
// depend on the message.
type census struct {
	kinds   [defectKinds]Defect
	crAtEnd bool // the block before ended with CR
}

func (c *census) note(k DefectKind, off, n int64) {
	d := &c.kinds[k]
	if d.Count == 0 {
		d.Kind, d.Offset = k, off
	}
	d.Count += n
}

func (c *census) defects() []Defect {
	var out []Defect
	for _, d := range c.kinds {
		if d.Count > 0 {
			out = append(out, d)
		}
	}
	return out
}

// scan looks for bytes that no message should have. off is the offset of b[0].
func (c *census) scan(b []byte, off int64) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		c.note(NUL, off+int64(i), int64(bytes.Count(b, []byte{0})))
	}
	wasCR := c.crAtEnd
	pairs := 0
	if c.crAtEnd {
		if b[0] == '\n' {
			pairs++
		} else {
			c.note(BareCR, off-1, 1)
		}
		c.crAtEnd = false
	}
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '\r')
		if n < 0 {
			break
		}
		i += n
		switch {
		case i+1 == len(b):
			c.crAtEnd = true
		case b[i+1] == '\n':
			pairs++
			i++
		default:
			c.note(BareCR, off+int64(i), 1)
		}
	}
	if bare := bytes.Count(b, []byte{'\n'}) - pairs; bare > 0 {
		first := off
		if c.kinds[BareLF].Count == 0 {
			first += int64(firstBareLF(b, wasCR))
		}
		c.note(BareLF, first, int64(bare))
	}
}

// firstBareLF is the index of the first LF without CR; there is one.
func firstBareLF(b []byte, wasCR bool) int {
	for i := 0; ; i++ {
		i += bytes.IndexByte(b[i:], '\n')
		if i == 0 && !wasCR || i > 0 && b[i-1] != '\r' {
			return i
		}
	}
}

// end ends the message at off.
func (c *census) end(off int64) {
	if c.crAtEnd {
		c.note(BareCR, off-1, 1)
	}
}
