package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

const (
	// replyOctetsMax bounds what is kept of the inner server's replies: an
	// answer to EHLO has less than 1 KB, an explanation a few lines.
	replyOctetsMax = 16 << 10
	// readOctets is one read of replies.
	readOctets = 2 << 10
	// blockOctets is from how many octets of a body on they are sent.
	blockOctets = 32 << 10
	// outKeepMax is the largest buffer that an idle connection keeps.
	outKeepMax = 4 << 10
	// lastWordWait is how long a reply is waited for that a server may have
	// sent before it closed the connection on us.
	lastWordWait = 2 * time.Second
)

// inner is one connection to the inner server. It belongs to whoever has taken
// it from the pool.
type inner struct {
	nc    net.Conn
	clock sys.Clock
	x     smtp.Extensions
	in    []byte // read and not parsed
	out   []byte // not sent yet
	who   string // the client whose facts the inner server has been told
	open  bool   // a transaction may be open
	bad   bool   // it is of no use any more
	since time.Time
}

// command sends a line and reads its reply.
func (c *inner) command(ctx context.Context, wait time.Duration, line string) (smtp.Reply, error) {
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if err := c.send(ctx, wait); err != nil {
		return smtp.Reply{}, err
	}
	return c.reply(ctx, wait)
}

// send writes what is in out. A reply that is there before its command is no
// reply to it.
func (c *inner) send(ctx context.Context, wait time.Duration) error {
	if len(c.in) > 0 {
		return c.fail(ctx, errUnasked)
	}
	defer c.watch(ctx)()
	if err := c.within(ctx, wait); err != nil {
		return err
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

// reply reads the next reply, all of it within the wait.
func (c *inner) reply(ctx context.Context, wait time.Duration) (smtp.Reply, error) {
	defer c.watch(ctx)()
	if err := c.within(ctx, wait); err != nil {
		return smtp.Reply{}, err
	}
	for news := true; ; {
		if news { // else no line has ended, and it need not be read again
			r, n, err := smtp.ParseReply(c.in)
			if err == nil {
				c.in = c.in[n:]
				c.bad = c.bad || r.Code == 421
				return r, nil
			}
			if !errors.Is(err, smtp.ErrIncomplete) {
				return smtp.Reply{}, c.fail(ctx, err)
			}
		}
		if len(c.in) >= replyOctetsMax {
			return smtp.Reply{}, c.fail(ctx, errEndless)
		}
		have := len(c.in)
		c.in = slices.Grow(c.in, readOctets)
		n, err := c.nc.Read(c.in[have : have+readOctets])
		c.in = c.in[:have+n]
		if err != nil && n == 0 {
			return smtp.Reply{}, c.fail(ctx, err)
		}
		news = bytes.IndexByte(c.in[have:], '\n') >= 0
	}
}

// watch wakes the connection up when ctx ends; the function it returns stops
// watching. A connection that was woken up is not used again.
func (c *inner) watch(ctx context.Context) func() {
	nc := c.nc
	stop := context.AfterFunc(ctx, func() {
		_ = nc.SetDeadline(time.Unix(1, 0)) // if it has gone already, nobody waits for it
	})
	return func() {
		if !stop() {
			c.bad = true
		}
	}
}

// within gives the next reads and writes a deadline.
func (c *inner) within(ctx context.Context, wait time.Duration) error {
	if err := c.nc.SetDeadline(c.clock.Now().Add(wait)); err != nil {
		return c.fail(ctx, err)
	}
	if err := ctx.Err(); err != nil { // after the deadline: else watch's might be overwritten unseen
		return c.fail(ctx, err)
	}
	return nil
}

// fail makes the connection useless, and prefers the context's reason to the
// deadline that it caused.
func (c *inner) fail(ctx context.Context, err error) error {
	c.bad = true
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("inner server: %w", err)
}

// body sends octets that are in out, once there are enough of them.
func (c *inner) body(ctx context.Context, wait time.Duration) error {
	if len(c.out) < blockOctets {
		return nil
	}
	if err := c.send(ctx, wait); err != nil {
		return c.lastWord(ctx, err)
	}
	return nil
}

// lastWord looks for a refusal that the server sent before it closed the
// connection on us.
func (c *inner) lastWord(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, errUnasked) || errors.Is(err, os.ErrDeadlineExceeded) {
		return gone(err)
	}
	if r, rerr := c.reply(ctx, lastWordWait); rerr == nil && !r.Positive() {
		return verdict(&r)
	}
	return gone(err)
}

// startTLS makes the connection secure, RFC 3207.
func (c *inner) startTLS(ctx context.Context, wait time.Duration, config *tls.Config) error {
	r, err := c.command(ctx, wait, "STARTTLS")
	switch {
	case err != nil:
		return err
	case r.Code != 220:
		return said(&r)
	case len(c.in) > 0:
		return c.fail(ctx, errInjected)
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return c.fail(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s := tls.Client(c.nc, config)
	if err := s.HandshakeContext(ctx); err != nil {
		return c.fail(ctx, err)
	}
	c.nc = s
	return nil
}

// rest makes the connection ready to be kept.
func (c *inner) rest(now time.Time) {
	c.since = now
	if cap(c.out) > outKeepMax {
		c.out = nil
	}
	if len(c.in) == 0 {
		c.in = nil
	}
}

// close closes the connection. What is in out is not sent: a body that was
// not ended stays so.
func (c *inner) close() {
	_ = c.nc.Close() // all that was sent has been answered, or does not matter
}
