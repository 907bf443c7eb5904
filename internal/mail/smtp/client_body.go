package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrBody says that a body has a CR or LF that is not part of a CRLF. It is
// never sent by DATA: a lax server could take what follows for commands.
var ErrBody = errors.New("body has a bare CR or LF")

// dotted sends a body as DATA wants it, RFC 5321 §4.5.2, and its end. What
// goes wrong before the end leaves a body that the server must not take, and
// the connection is of no use.
func (t *transfer) dotted() error {
	c := t.c
	if err := t.stuffed(); err != nil {
		c.dead = true
		return err
	}
	c.out = append(c.out, ".\r\n"...)
	t.rc.Ended = true
	if err := c.send(t.ctx, c.o.Times.Block); err != nil {
		return t.lastWord(err)
	}
	return nil
}

// stuffed sends the body but for what is in out when it returns.
func (t *transfer) stuffed() error {
	c := t.c
	c.out = c.out[:0]
	if c.block == nil {
		c.block = make([]byte, clientBlock)
	}
	buf := c.block
	last := byte('\n') // what was sent last; LF only after CR
	for idle := 0; ; {
		n, err := t.body.Read(buf)
		ok := true
		if last, ok = c.appendDotted(buf[:n], last); !ok {
			return ErrBody
		}
		if len(c.out) >= clientBlock {
			if err := c.send(t.ctx, c.o.Times.Block); err != nil {
				return t.lastWord(err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if idle++; n > 0 {
			idle = 0
		}
		if err == nil && idle > emptyReadsMax {
			err = io.ErrNoProgress
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBodyRead, err)
		}
	}
	switch last {
	case '\r':
		return ErrBody
	case '\n':
	default:
		c.out = append(c.out, '\r', '\n')
	}
	return nil
}

// lastWord is for a body that could not be sent to its end: a refusal that
// the server sent before it closed is its verdict on the message.
func (t *transfer) lastWord(err error) error {
	err = t.c.lastWord(t.ctx, err)
	var said *Reply
	if errors.As(err, &said) {
		t.rc.Final = *said
	}
	return err
}

// emptyReadsMax is how often in a row a body may give nothing.
const emptyReadsMax = 100

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
