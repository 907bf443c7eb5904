package sim

import "slices"

// page is a page of a file.
type page [pageSize]byte

// content is what a file holds. A page is never changed once it is in one:
// what is seen, what a power cut leaves and what was written share theirs.
type content struct {
	pages []*page // nil is a page of zeros; the last is zeros past size
	size  int64
}

// clone gives a content that changes apart from c.
func (c *content) clone() content {
	return content{slices.Clone(c.pages), c.size}
}

// readAt fills b from off on, as far as c goes.
func (c *content) readAt(b []byte, off int64) int {
	n := max(0, min(len(b), int(c.size-off)))
	for b = b[:n]; len(b) > 0; {
		part := b[:min(len(b), int(pageSize-off%pageSize))]
		if p := c.pages[off/pageSize]; p != nil {
			copy(part, p[off%pageSize:])
		} else {
			clear(part)
		}
		b, off = b[len(part):], off+int64(len(part))
	}
	return n
}

// write puts b at off, which is within c or where it ends. Nobody may change b
// afterwards.
func (c *content) write(b []byte, off int64) {
	c.resize(max(c.size, off+int64(len(b))))
	for len(b) > 0 {
		n := min(len(b), int(pageSize-off%pageSize))
		if n == pageSize {
			c.pages[off/pageSize] = (*page)(b)
		} else {
			copy(c.own(off / pageSize)[off%pageSize:], b[:n])
		}
		b, off = b[n:], off+int64(n)
	}
}

// own gives a page that nothing shares yet.
func (c *content) own(i int64) *page {
	p := new(page)
	if c.pages[i] != nil {
		*p = *c.pages[i]
	}
	c.pages[i] = p
	return p
}

// resize cuts c, or lets it grow by zeros.
func (c *content) resize(size int64) {
	pages := int((size + pageSize - 1) / pageSize)
	if pages > len(c.pages) {
		c.pages = append(c.pages, make([]*page, pages-len(c.pages))...)
	}
	clear(c.pages[pages:])
	c.pages = c.pages[:pages]
	if size < c.size && size%pageSize > 0 {
		clear(c.own(size / pageSize)[size%pageSize:])
	}
	c.size = size
}

// apply makes a change.
func (c *content) apply(ch change) {
	if ch.data == nil {
		c.resize(ch.off)
	} else {
		c.write(ch.data, ch.off)
	}
}
