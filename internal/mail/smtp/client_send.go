package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Receipt is what a server said to a message.
type Receipt struct {
	Recipients []Reply // to each recipient, in order
	Final      Reply   // to the message as a whole; zero if it was not sent
}

// Send sends one message. Commands are pipelined where that is offered; with
// Chunking a small message goes out whole, in one write. The body's lines end
// in CRLF; a last line that does not is completed.
//
// The error is a *Reply if the sender, every recipient or the message was
// refused; then the connection can be used for the next message. If some
// recipients were accepted and the message too, it is nil, and Receipt says
// which.
func (c *Client) Send(ctx context.Context, e *Envelope, body io.Reader) (Receipt, error) {
	defer c.watch(ctx)()
	if len(e.Recipients) == 0 {
		return Receipt{}, errors.New("send: no recipients")
	}
	if size := sizeOf(body); c.o.Chunking && c.x.Chunking && size >= 0 {
		return c.sendChunk(ctx, e, body, size)
	}
	rc, refused, err := c.envelope(ctx, e, "DATA\r\n")
	if err != nil {
		return rc, err
	}
	if refused != nil && !c.x.Pipelining {
		return rc, c.refusal(ctx, refused) // DATA was not sent
	}
	r, err := c.reply(ctx, c.o.Times.Data)
	if err != nil {
		return rc, err
	}
	if r.Code != 354 {
		return rc, c.refusal(ctx, first(refused, &r))
	}
	if refused != nil { // RFC 2920 §3.1: it wants a body all the same
		body = bytes.NewReader(nil)
	}
	if err := c.dotted(ctx, body); err != nil {
		return rc, err
	}
	if rc.Final, err = c.reply(ctx, c.o.Times.Final); err != nil {
		return rc, err
	}
	if refused != nil {
		return rc, c.refusal(ctx, refused)
	}
	return rc, expect(&rc.Final, 250)
}

func first(a, b *Reply) *Reply {
	if a != nil {
		return a
	}
	return b
}

// refusal clears up behind a transaction that did not come about.
func (c *Client) refusal(ctx context.Context, r *Reply) error {
	if r.Code == 421 {
		return r
	}
	if _, err := c.command(ctx, "RSET"); err != nil {
		return err
	}
	return r
}

// envelope sends MAIL, RCPT and last, all together if the server takes
// pipelined commands, and reads the replies to all but last. refused is set if
// the transaction cannot go on; then last was sent only if it was pipelined.
func (c *Client) envelope(ctx context.Context, e *Envelope, last string) (rc Receipt, refused *Reply, err error) {
	rc.Recipients = make([]Reply, 0, len(e.Recipients))
	c.out = append(AppendMail(c.out[:0], e, c.x), '\r', '\n')
	pending := 1
	sawMail := false
	drain := func() error {
		if err := c.send(ctx, c.o.Times.Command); err != nil {
			return err
		}
		for ; pending > 0; pending-- {
			r, err := c.reply(ctx, c.o.Times.Command)
			switch {
			case err != nil:
				return err
			case sawMail:
				rc.Recipients = append(rc.Recipients, r)
			case r.Code != 250:
				refused = &r
			}
			sawMail = true
		}
		return nil
	}
	for i := range e.Recipients {
		if !c.x.Pipelining || len(c.out) > pipelineMax {
			if err := drain(); err != nil || refused != nil && !c.x.Pipelining {
				return rc, refused, err
			}
		}
		c.out = append(AppendRcpt(c.out, &e.Recipients[i], c.x), '\r', '\n')
		pending++
	}
	if c.x.Pipelining {
		c.out = append(c.out, last...)
	}
	if err := drain(); err != nil {
		return rc, refused, err
	}
	if refused == nil {
		refused = rc.none()
	}
	if !c.x.Pipelining && refused == nil && last != "" {
		c.out = append(c.out, last...)
		err = c.send(ctx, c.o.Times.Data)
	}
	return rc, refused, err
}

// none returns the last refusal if no recipient was accepted.
func (rc *Receipt) none() *Reply {
	for i := range rc.Recipients {
		if rc.Recipients[i].Positive() {
			return nil
		}
	}
	return &rc.Recipients[len(rc.Recipients)-1]
}

// sizeOf is how many octets a body has, -1 if that is not known.
func sizeOf(body io.Reader) int64 {
	if b, ok := body.(interface{ Len() int }); ok {
		return int64(b.Len())
	}
	return -1
}

// sendChunk sends the message by one BDAT, RFC 3030 §4.2.
func (c *Client) sendChunk(ctx context.Context, e *Envelope, body io.Reader, size int64) (Receipt, error) {
	if !c.x.Pipelining || size > clientBlock || len(e.Recipients) > 20 {
		// The answers first: the octets might be sent in vain, and both sides
		// might wait for the other to read.
		return c.sendChunkAfter(ctx, e, body, size)
	}
	c.out = append(AppendMail(c.out[:0], e, c.x), '\r', '\n')
	for i := range e.Recipients {
		c.out = append(AppendRcpt(c.out, &e.Recipients[i], c.x), '\r', '\n')
	}
	c.appendBdat(size)
	at := len(c.out)
	c.out = append(c.out, make([]byte, size)...)
	if _, err := io.ReadFull(body, c.out[at:]); err != nil {
		c.out = c.out[:0]
		return Receipt{}, fmt.Errorf("read body: %w", err)
	}
	if err := c.send(ctx, c.o.Times.Block); err != nil {
		return Receipt{}, err
	}
	return c.chunkReplies(ctx, len(e.Recipients))
}

func (c *Client) chunkReplies(ctx context.Context, recipients int) (Receipt, error) {
	rc := Receipt{Recipients: make([]Reply, 0, recipients)}
	sender, err := c.reply(ctx, c.o.Times.Command)
	if err != nil {
		return rc, err
	}
	for range recipients {
		r, err := c.reply(ctx, c.o.Times.Command)
		if err != nil {
			return rc, err
		}
		rc.Recipients = append(rc.Recipients, r)
	}
	if rc.Final, err = c.reply(ctx, c.o.Times.Final); err != nil {
		return rc, err
	}
	switch refused := rc.none(); {
	case sender.Code != 250:
		return rc, c.refusal(ctx, &sender)
	case refused != nil:
		return rc, c.refusal(ctx, refused)
	case rc.Final.Code != 250:
		return rc, c.refusal(ctx, &rc.Final)
	}
	return rc, nil
}

func (c *Client) sendChunkAfter(ctx context.Context, e *Envelope, body io.Reader, size int64) (Receipt, error) {
	rc, refused, err := c.envelope(ctx, e, "")
	switch {
	case err != nil:
		return rc, err
	case refused != nil:
		return rc, c.refusal(ctx, refused)
	}
	c.out = c.out[:0]
	c.appendBdat(size)
	left := size
	for first := true; first || left > 0; first = false {
		at := len(c.out)
		n := min(left, clientBlock)
		c.out = append(c.out, make([]byte, n)...)
		if _, err := io.ReadFull(body, c.out[at:]); err != nil {
			return rc, fmt.Errorf("read body: %w", err)
		}
		left -= n
		if err := c.send(ctx, c.o.Times.Block); err != nil {
			return rc, c.lastWord(ctx, err)
		}
	}
	if rc.Final, err = c.reply(ctx, c.o.Times.Final); err != nil {
		return rc, err
	}
	if rc.Final.Code != 250 {
		return rc, c.refusal(ctx, &rc.Final)
	}
	return rc, nil
}

func (c *Client) appendBdat(size int64) {
	c.out = append(strconv.AppendInt(append(c.out, "BDAT "...), size, 10), " LAST\r\n"...)
}

// ErrBody says that a body has a CR or LF that is not part of a CRLF. It is
// never sent by DATA: a lax server could take what follows for commands.
var ErrBody = errors.New("body has a bare CR or LF")

// dotted sends a body as DATA wants it, RFC 5321 §4.5.2, and its end.
func (c *Client) dotted(ctx context.Context, body io.Reader) error {
	c.out = c.out[:0]
	if c.block == nil {
		c.block = make([]byte, clientBlock)
	}
	buf := c.block
	last := byte('\n') // what was sent last; LF only after CR
	for {
		n, err := body.Read(buf)
		ok := true
		if last, ok = c.appendDotted(buf[:n], last); !ok {
			return ErrBody
		}
		if len(c.out) >= clientBlock {
			if err := c.send(ctx, c.o.Times.Block); err != nil {
				return c.lastWord(ctx, err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	}
	switch last {
	case '\r':
		return ErrBody
	case '\n':
	default:
		c.out = append(c.out, '\r', '\n')
	}
	c.out = append(c.out, ".\r\n"...)
	if err := c.send(ctx, c.o.Times.Block); err != nil {
		return c.lastWord(ctx, err)
	}
	return nil
}

// appendDotted appends octets of a body, with a dot more where a line begins
// with one. It returns the last octet, and false for a bare CR or LF.
func (c *Client) appendDotted(b []byte, last byte) (byte, bool) {
	for len(b) > 0 {
		if last == '\r' && b[0] != '\n' {
			return last, false
		}
		if last == '\n' && b[0] == '.' {
			c.out = append(c.out, '.')
		}
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line = b[:i+1]
			if i > 0 && b[i-1] != '\r' || i == 0 && last != '\r' {
				return last, false
			}
		}
		if cr := bytes.IndexByte(line, '\r'); cr >= 0 && cr < len(line)-1 && line[cr+1] != '\n' {
			return last, false
		}
		c.out = append(c.out, line...)
		last = line[len(line)-1]
		b = b[len(line):]
	}
	return last, true
}

// lastWord looks for a reply that a server sent before it closed the
// connection on us.
func (c *Client) lastWord(ctx context.Context, err error) error {
	if r, rerr := c.reply(ctx, c.o.Times.Command); rerr == nil && !r.Positive() {
		return &r
	}
	return err
}
