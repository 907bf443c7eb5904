package journal

import (
	"container/list"
	"os"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// files keeps segment files open for readers: those in use, and the most
// recently used others up to a number.
type files struct {
	fs  sys.FS
	max int

	mu   sync.Mutex
	open map[SegmentID]*handle
	idle list.List // of *handle without users, most recently used first
}

// handle is an open segment file. Whoever got it must release it.
type handle struct {
	files *files
	id    SegmentID
	f     sys.File
	// Guarded by files.mu.
	users int
	gone  bool          // dropped: close with the last user
	elem  *list.Element // in files.idle, nil while in use
}

func newFiles(fs sys.FS, max int) *files {
	return &files{fs: fs, max: max, open: make(map[SegmentID]*handle)}
}

// get gives the segment's file, opened if need be.
func (c *files) get(id SegmentID, path string) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[id]
	if h == nil {
		f, err := c.fs.Open(path, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		h = &handle{files: c, id: id, f: f}
		c.open[id] = h
	}
	if h.elem != nil {
		c.idle.Remove(h.elem)
		h.elem = nil
	}
	h.users++
	return h, nil
}

// release gives the file back.
func (h *handle) release() {
	c := h.files
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	if h.users > 0 {
		return
	}
	if h.gone {
		_ = h.f.Close()
		return
	}
	h.elem = c.idle.PushFront(h)
	for c.idle.Len() > c.max {
		c.closeIdle(c.idle.Back())
	}
}

// closeIdle closes a file that nobody uses. mu is held.
func (c *files) closeIdle(e *list.Element) {
	h := e.Value.(*handle)
	c.idle.Remove(e)
	delete(c.open, h.id)
	_ = h.f.Close()
}

// drop forgets the file of a segment that is removed: readers that have it go
// on to read it, nobody gets it any more.
func (c *files) drop(id SegmentID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[id]
	if h == nil {
		return
	}
	delete(c.open, id)
	if h.elem != nil {
		c.idle.Remove(h.elem)
		_ = h.f.Close()
		return
	}
	h.gone = true
}

// close closes what is idle; what is in use is closed by its last user.
func (c *files) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, h := range c.open {
		delete(c.open, id)
		if h.elem == nil {
			h.gone = true
			continue
		}
		c.idle.Remove(h.elem)
		_ = h.f.Close()
	}
}
