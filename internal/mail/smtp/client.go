package smtp

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// ClientTimes are how long a client waits, RFC 5321 §4.5.3.2; the zero value
// of each field is what stands there.
type ClientTimes struct {
	Banner  time.Duration // 5 minutes
	Command time.Duration // 5 minutes; also for MAIL and RCPT
	Data    time.Duration // 2 minutes
	Block   time.Duration // 3 minutes
	Final   time.Duration // 10 minutes
}

// ClientOptions of a [Client].
type ClientOptions struct {
	Hostname string // the EHLO argument; "localhost" if empty
	// Now is the clock of the connection's deadlines; nil: there are none but
	// the context's.
	Now      func() time.Time
	Times    ClientTimes
	Chunking bool // bodies of known size go by BDAT where it is offered
}

const (
	// replyBufferMax is how many octets of unread replies a client keeps.
	replyBufferMax = 128 << 10
	// clientBlock is one write of a body in octets.
	clientBlock = 32 << 10
	// pipelineMax is how many octets of commands are sent before their
	// replies are read: both sides' socket buffers hold as much, so neither
	// waits for the other (RFC 2920 §3.1).
	pipelineMax = 8 << 10
)

// Errors of a Client.
var (
	// ErrClientPlain: a password is sent under TLS only.
	ErrClientPlain = errors.New("no password without TLS")
	// ErrClientInjected: octets came between the answer to STARTTLS and the
	// handshake.
	ErrClientInjected = errors.New("octets in the clear after STARTTLS")
	// ErrNotOffered: the server does not offer what the call needs.
	ErrNotOffered = errors.New("not offered by the server")
)

// Client is the client's side of a dialogue, over one connection, which can
// carry any number of messages. It belongs to one goroutine. A refusal is a
// *Reply as error; after any other error the connection is of no use.
type Client struct {
	conn    net.Conn
	o       ClientOptions
	x       Extensions
	in      []byte // read and not parsed
	out     []byte
	block   []byte // of a body; made when it is needed
	greeted bool   // the banner has been read
	tls     bool
}

// NewClient makes a client of a fresh connection. Hello comes first.
func NewClient(conn net.Conn, o ClientOptions) *Client {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&o.Times.Banner, 5 * time.Minute}, {&o.Times.Command, 5 * time.Minute}, {&o.Times.Data, 2 * time.Minute},
		{&o.Times.Block, 3 * time.Minute}, {&o.Times.Final, 10 * time.Minute},
	} {
		setDefault(d.p, d.v)
	}
	_, secure := conn.(*tls.Conn)
	return &Client{conn: conn, o: o, tls: secure}
}

// Extensions returns what the server offered in its last answer to EHLO.
func (c *Client) Extensions() Extensions { return c.x }

// Hello waits for the banner and greets: EHLO, or HELO where that is refused.
func (c *Client) Hello(ctx context.Context) error {
	defer c.watch(ctx)()
	if !c.greeted {
		r, err := c.reply(ctx, c.o.Times.Banner)
		if err != nil {
			return err
		}
		if r.Code != 220 {
			return &r
		}
		c.greeted = true
	}
	r, err := c.command(ctx, "EHLO "+c.o.Hostname)
	if err != nil {
		return err
	}
	if r.Code == 250 {
		c.x = r.Extensions()
		return nil
	}
	c.x = Extensions{}
	if r, err = c.command(ctx, "HELO "+c.o.Hostname); err != nil {
		return err
	}
	return expect(&r, 250)
}

// StartTLS makes the connection secure and greets again.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) error {
	if !c.x.StartTLS {
		return fmt.Errorf("STARTTLS: %w", ErrNotOffered)
	}
	stop := c.watch(ctx)
	r, err := c.command(ctx, "STARTTLS")
	stop()
	switch {
	case err != nil:
		return err
	case r.Code != 220:
		return &r
	case len(c.in) > 0:
		return ErrClientInjected
	}
	s := tls.Client(c.conn, config)
	if err := s.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.conn, c.tls = s, true
	return c.Hello(ctx)
}

// AuthPlain logs in with the mechanism PLAIN (RFC 4616), under TLS only.
func (c *Client) AuthPlain(ctx context.Context, user, password string) error {
	if !c.tls {
		return ErrClientPlain
	}
	defer c.watch(ctx)()
	r, err := c.command(ctx, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	if err != nil {
		return err
	}
	return expect(&r, 235)
}

// Reset gives a transaction up.
func (c *Client) Reset(ctx context.Context) error { return c.simple(ctx, "RSET", 250) }

// Noop asks whether the server is still there.
func (c *Client) Noop(ctx context.Context) error { return c.simple(ctx, "NOOP", 250) }

// Quit ends the session and closes the connection.
func (c *Client) Quit(ctx context.Context) error {
	err := c.simple(ctx, "QUIT", 221)
	cerr := c.conn.Close()
	if err == nil {
		return nil // the server has closed its side, or is about to: nothing can be lost
	}
	return errors.Join(err, cerr)
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) simple(ctx context.Context, line string, code int) error {
	defer c.watch(ctx)()
	r, err := c.command(ctx, line)
	if err != nil {
		return err
	}
	return expect(&r, code)
}

func expect(r *Reply, code int) error {
	if r.Code != code {
		return r
	}
	return nil
}

// watch wakes the connection up when ctx ends; the function it returns stops
// watching.
func (c *Client) watch(ctx context.Context) func() bool {
	conn := c.conn
	return context.AfterFunc(ctx, func() {
		// If the connection has gone already, nobody waits for it.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
}

// within gives the next reads and writes a deadline.
func (c *Client) within(ctx context.Context, d time.Duration) error {
	if c.o.Now != nil {
		if err := c.conn.SetDeadline(c.o.Now().Add(d)); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
	}
	return ctx.Err() // after the deadline: else watch's might be overwritten unseen
}

// command sends a line and reads its reply.
func (c *Client) command(ctx context.Context, line string) (Reply, error) {
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if err := c.send(ctx, c.o.Times.Command); err != nil {
		return Reply{}, err
	}
	return c.reply(ctx, c.o.Times.Command)
}

// send writes what is in out.
func (c *Client) send(ctx context.Context, d time.Duration) error {
	if err := c.within(ctx, d); err != nil {
		return err
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return c.ioError(ctx, "write", err)
	}
	return nil
}

// ioError prefers the context's reason to the deadline that it caused.
func (c *Client) ioError(ctx context.Context, op string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s: %w", op, err)
}

// reply reads the next reply.
func (c *Client) reply(ctx context.Context, d time.Duration) (Reply, error) {
	fresh := false
	for {
		r, n, err := ParseReply(c.in)
		if err == nil {
			if c.in = c.in[n:]; len(c.in) == 0 {
				c.in = nil
			}
			return r, nil
		}
		if !errors.Is(err, ErrIncomplete) || len(c.in) > replyBufferMax {
			return Reply{}, fmt.Errorf("read reply: %w", err)
		}
		if !fresh {
			if err := c.within(ctx, d); err != nil {
				return Reply{}, err
			}
			fresh = true
		}
		var buf [4096]byte
		size, err := c.conn.Read(buf[:])
		c.in = append(c.in, buf[:size]...)
		if err != nil && size == 0 {
			return Reply{}, c.ioError(ctx, "read reply", err)
		}
	}
}
