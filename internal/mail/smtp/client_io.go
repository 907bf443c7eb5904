package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// watch wakes the connection up when ctx ends; the function it returns stops
// watching. A connection that was woken up is not used again.
func (c *Client) watch(ctx context.Context) func() {
	conn := c.conn
	stop := context.AfterFunc(ctx, func() {
		// If the connection has gone already, nobody waits for it.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			c.dead = true
		}
	}
}

// bound sets the time by which what begins now is over.
func (c *Client) bound(d time.Duration) {
	if c.o.Now != nil {
		c.until = c.o.Now().Add(d)
	}
}

// within gives the next reads and writes a deadline.
func (c *Client) within(ctx context.Context, d time.Duration) error {
	if c.o.Now != nil {
		deadline := c.o.Now().Add(d)
		if !c.until.IsZero() && c.until.Before(deadline) {
			deadline = c.until
		}
		if err := c.conn.SetDeadline(deadline); err != nil {
			return c.fail(ctx, "set deadline", err)
		}
	}
	if err := ctx.Err(); err != nil { // after the deadline: else watch's might be overwritten unseen
		return c.fail(ctx, "wait", err)
	}
	return nil
}

// fail makes the connection useless, and prefers the context's reason to the
// deadline that it caused.
func (c *Client) fail(ctx context.Context, op string, err error) error {
	c.dead = true
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s: %w", op, err)
}

// command sends a line and reads its reply.
func (c *Client) command(ctx context.Context, line string) (Reply, error) {
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if err := c.send(ctx, c.o.Times.Command); err != nil {
		return Reply{}, err
	}
	return c.reply(ctx, c.o.Times.Command)
}

// send writes what is in out. Nothing that was sent before waits for a reply,
// but perhaps a body for its own: a reply that is there already is no reply.
func (c *Client) send(ctx context.Context, d time.Duration) error {
	defer func() { c.out = c.out[:0] }()
	if c.dead {
		return ErrClientUsed
	}
	if len(c.in) > 0 {
		c.dead = true
		if r, _, err := ParseReply(c.in); err == nil && r.Code == 421 { // which can be said at any time, RFC 5321 §3.8
			return &r
		}
		return ErrClientUnasked
	}
	if err := c.within(ctx, d); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return c.fail(ctx, "write", err)
	}
	return nil
}

// reply reads the next reply, all of it within d.
func (c *Client) reply(ctx context.Context, d time.Duration) (Reply, error) {
	waits := false
	for news := len(c.in) > 0; ; {
		if news { // else no line has ended since it was last looked at
			r, n, err := ParseReply(c.in)
			if err == nil {
				c.take(n)
				c.dead = c.dead || r.Code == 421
				return r, nil
			}
			if !errors.Is(err, ErrIncomplete) {
				return Reply{}, c.fail(ctx, "read reply", err)
			}
		}
		if len(c.in) >= replyBufferMax {
			return Reply{}, c.fail(ctx, "read reply", fmt.Errorf("%w: more than %d octets", ErrReply, replyBufferMax))
		}
		if !waits {
			if err := c.within(ctx, d); err != nil {
				return Reply{}, err
			}
			waits = true
		}
		have := len(c.in)
		c.in = slices.Grow(c.in, clientReadOctets)
		n, err := c.conn.Read(c.in[have : have+clientReadOctets])
		c.in = c.in[:have+n]
		if err != nil && n == 0 {
			return Reply{}, c.fail(ctx, "read reply", err)
		}
		news = bytes.IndexByte(c.in[have:], '\n') >= 0
	}
}

// take removes a reply from the octets that were read.
func (c *Client) take(n int) {
	c.in = c.in[:copy(c.in, c.in[n:])]
	if len(c.in) == 0 && cap(c.in) > clientReadOctets {
		c.in = nil // a connection may be kept for long
	}
	if c.o.Now != nil {
		c.heard = c.o.Now()
	}
}

// sure reports whether the server is there, as far as can be known without
// asking: it was heard of just now, and is not one that takes a single message
// and goes.
func (c *Client) sure() bool {
	return c.sent != 1 && (c.o.Now == nil || c.o.Now().Sub(c.heard) <= clientCalm)
}

// lastWord looks for a reply that a server sent before it closed the
// connection on us.
func (c *Client) lastWord(ctx context.Context, err error) error {
	var said *Reply
	if errors.As(err, &said) || errors.Is(err, ErrClientUnasked) || ctx.Err() != nil {
		return err
	}
	if r, rerr := c.reply(ctx, c.o.Times.Command); rerr == nil && !r.Positive() {
		return &r
	}
	return err
}
