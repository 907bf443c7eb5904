package lobby

import (
	"encoding/binary"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// conversation is what a guest has said, unpacked. It lives while one event is
// worked off.
type conversation struct {
	d     smtp.Dialogue
	from  message.Address // the last sender that was judged
	to    message.Address // the first recipient that was judged
	named bool            // from and to are set
}

// The first octet of a packed conversation.
const (
	packNamed    = 1 << iota // from and to follow
	packSameFrom             // from is that of the transaction: only to follows
)

// appendTo packs the conversation.
func (c *conversation) appendTo(dst []byte) []byte {
	if !c.named {
		return c.d.AppendBinary(append(dst, 0))
	}
	if e := c.d.Envelope(); e != nil && e.From == c.from {
		dst = append(dst, packNamed|packSameFrom)
	} else {
		dst = appendAddress(append(dst, packNamed), c.from)
	}
	return c.d.AppendBinary(appendAddress(dst, c.to))
}

func appendAddress(dst []byte, a message.Address) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(a.Local))), a.Local...)
	return append(binary.AppendUvarint(dst, uint64(len(a.Domain))), a.Domain...)
}

// unpack is the other way round. The octets are our own.
func unpack(b []byte) (conversation, error) {
	var c conversation
	if len(b) == 0 {
		return c, nil
	}
	head, b := b[0], b[1:]
	c.named = head&packNamed != 0
	ok := true
	if c.named && head&packSameFrom == 0 {
		c.from, b, ok = cutAddress(b)
	}
	if c.named && ok {
		c.to, b, ok = cutAddress(b)
	}
	if !ok {
		return c, fmt.Errorf("conversation: %w", smtp.ErrDialogue)
	}
	var err error
	c.d, err = smtp.DecodeDialogue(b)
	if e := c.d.Envelope(); err == nil && head&packSameFrom != 0 && e != nil {
		c.from = e.From
	}
	return c, err
}

func cutAddress(b []byte) (a message.Address, rest []byte, ok bool) {
	a.Local, b, ok = cutString(b)
	if !ok {
		return a, b, false
	}
	domain, rest, ok := cutString(b)
	a.Domain = message.Domain(domain)
	return a, rest, ok
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", b, false
	}
	return string(b[size : size+int(n)]), b[size+int(n):], true
}

// open unpacks a guest's conversation.
func (h *hall) open(g *guest) conversation {
	c, err := unpack(g.state)
	if err != nil { // we wrote it
		panic(err)
	}
	return c
}

// keep packs it again. It reports false when there is no room for it even
// after others have left; the guest then has to.
func (h *hall) keep(slot uint32, g *guest, c *conversation) bool {
	h.scratch = c.appendTo(h.scratch[:0])
	n, have := len(h.scratch), cap(g.state)
	if n > have || n < have/2 {
		h.pool.price.Add(-int64(have))
		g.state = nil
		if !h.pay(slot, int64(sizeClass(n))) {
			return false
		}
		g.state = make([]byte, 0, sizeClass(n))
	}
	g.state = append(g.state[:0], h.scratch...)
	return true
}

// sizeClass rounds up to what the allocator gives anyway: steps of 16 octets
// up to 256, then of an eighth.
func sizeClass(n int) int {
	step := 16
	for n > 16*step {
		step *= 2
	}
	return (n + step - 1) / step * step
}
