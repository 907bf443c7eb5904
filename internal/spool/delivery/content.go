package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// content is a message as the next host gets it: our header fields, and the
// stored body without what stays here.
type content struct {
	head string
	body Body
	skip int64
	size int64

	small   []byte // all of it, once it was read and is small
	scanned bool
	eight   bool // it has octets above 127
	eightIn bool // and in its header
}

func newContent(m *fate.Message, b Body) (*content, error) {
	if m.Skip < 0 || m.Skip > b.Size() {
		return nil, fmt.Errorf("open message: it has %d octets, and %d are to be left out", b.Size(), m.Skip)
	}
	c := &content{head: m.Headers, body: b, skip: m.Skip}
	c.size = int64(len(c.head)) + b.Size() - c.skip
	if c.size <= smallBody {
		buf := make([]byte, c.size)
		if _, err := io.ReadFull(c.reader(), buf); err != nil {
			return nil, err
		}
		c.small = buf
	}
	return c, nil
}

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	if c.small != nil {
		n := copy(p, c.small[off:])
		return n, short(n, p)
	}
	n := 0
	if off < int64(len(c.head)) {
		n = copy(p, c.head[off:])
	}
	if n == len(p) || off+int64(n) >= c.size {
		return n, short(n, p)
	}
	more, err := c.body.ReadAt(p[n:min(int64(len(p)), c.size-off)], c.skip+off+int64(n)-int64(len(c.head)))
	n += more
	if err == nil || errors.Is(err, io.EOF) {
		err = short(n, p)
	}
	return n, err
}

func short(n int, p []byte) error {
	if n < len(p) {
		return io.EOF
	}
	return nil
}

// reader reads all of it from the beginning.
func (c *content) reader() *reader { return &reader{r: c, left: c.size} }

// reader is a body of known size for the client.
type reader struct {
	r    io.ReaderAt
	off  int64
	left int64
}

// Len is how many octets are left.
func (r *reader) Len() int { return int(r.left) }

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.ReadAt(p[:min(int64(len(p)), r.left)], r.off)
	r.off += int64(n)
	r.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left > 0:
		return n, io.ErrUnexpectedEOF
	case n > 0 && errors.Is(err, io.EOF):
		return n, nil
	}
	return n, err
}

// scan looks for 8-bit octets.
func (c *content) scan() error {
	if c.scanned {
		return nil
	}
	if c.small != nil {
		at, end := eightAt(c.small), bytes.Index(c.small, []byte("\r\n\r\n"))
		c.eight, c.eightIn = at >= 0, at >= 0 && (end < 0 || at < end)
		c.scanned = true
		return nil
	}
	buf := make([]byte, min(c.size, scanBlock))
	header := true
	var last []byte // the end of the block before, where the header's may begin
	for off := int64(0); off < c.size && !c.eight; off += int64(len(buf)) {
		n, err := c.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		b := buf[:n]
		at := eightAt(b)
		if header {
			end := headerEnd(last, b)
			c.eightIn = at >= 0 && (end < 0 || at < end)
			header = end < 0
			last = append(last[:0], b[max(0, n-3):]...)
		}
		c.eight = at >= 0
		if n == 0 {
			break
		}
	}
	c.scanned = true
	return nil
}

// eightAt is where the first 8-bit octet stands, or -1.
func eightAt(b []byte) int {
	for i, o := range b {
		if o >= 0x80 {
			return i
		}
	}
	return -1
}

// headerEnd is where in b the header ends, of which last came before; or -1.
func headerEnd(last, b []byte) int {
	joined := append(append(make([]byte, 0, len(last)+3), last...), b[:min(len(b), 3)]...)
	if bytes.Contains(joined, []byte("\r\n\r\n")) {
		return 0
	}
	return bytes.Index(b, []byte("\r\n\r\n"))
}

// downgraded makes the message 7-bit. The error wraps message.ErrDowngrade
// where that cannot be. It is made once to see how large it gets, and, where
// it is not small, again while it is sent.
func (c *content) downgraded() (body, error) {
	w := &measure{}
	if err := message.Downgrade(w, c, c.size); err != nil {
		return nil, err
	}
	if w.size <= smallBody {
		return bytes.NewReader(w.kept), nil
	}
	r, pw := io.Pipe()
	p := &piped{PipeReader: r, left: w.size, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		pw.CloseWithError(message.Downgrade(pw, c, c.size))
	}()
	return p, nil
}

// body is what is sent: a reader whose size is known.
type body interface {
	io.Reader
	Len() int
}

// measure counts what is written to it and keeps the beginning.
type measure struct {
	size int64
	kept []byte
}

func (m *measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	if m.size <= smallBody {
		m.kept = append(m.kept, p...)
	}
	return len(p), nil
}

// piped is a body that is made while it is sent. It has to be closed.
type piped struct {
	*io.PipeReader
	left int64
	done chan struct{} // closed when nobody reads the message any more
}

// Close ends the making.
func (p *piped) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}

// Len is how many octets are left.
func (p *piped) Len() int { return int(p.left) }

// Read implements io.Reader.
func (p *piped) Read(b []byte) (int, error) {
	n, err := p.PipeReader.Read(b)
	p.left -= int64(n)
	return n, err
}
