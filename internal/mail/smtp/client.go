package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ClientTimes are how long a client waits, RFC 5321 §4.5.3.2; the zero value
// of each field is what stands there. A reply has to be whole within its time:
// a server that sends an octet now and then gains nothing by it.
type ClientTimes struct {
	Banner  time.Duration // 5 minutes
	Command time.Duration // 5 minutes; also for MAIL and RCPT
	Data    time.Duration // 2 minutes
	Block   time.Duration // 3 minutes
	Final   time.Duration // 10 minutes
	// Setup bounds all from the banner to the first MAIL, and Message all of a
	// message before its end is sent; that one has a second more for each
	// clientRateMin octets. 10 and 20 minutes.
	Setup   time.Duration
	Message time.Duration
}

// ClientOptions of a [Client].
type ClientOptions struct {
	Hostname string // the EHLO argument; "localhost" if empty
	LMTP     bool   // the server speaks LMTP, RFC 2033
	// Now is the clock of the connection's deadlines; nil: there are none but
	// the context's.
	Now      func() time.Time
	Times    ClientTimes
	Chunking bool // bodies of known size go by BDAT where it is offered
}

const (
	// replyBufferMax is how many octets of unread replies a client keeps: an
	// answer to EHLO has a thousand, those to a group of pipelined RCPT some
	// hundreds each.
	replyBufferMax = 128 << 10
	// clientReadOctets is one read of replies.
	clientReadOctets = 4 << 10
	// clientBlock is one write of a body in octets.
	clientBlock = 32 << 10
	// clientChunk is a chunk of BDAT in octets: after each the server can say
	// that it wants no more, and one wait a chunk slows nobody down.
	clientChunk = 1 << 20
	// pipelineMax is how many octets of commands are sent before their
	// replies are read: both sides' socket buffers hold as much, so neither
	// waits for the other (RFC 2920 §3.1).
	pipelineMax = 8 << 10
	// atOnceRecipients is of how many recipients at most a small message goes
	// out in one write with its commands.
	atOnceRecipients = 20
	// clientRateMin is the slowest server that is served, in octets a second:
	// a large message at less than this would hold its worker for hours.
	clientRateMin = 16 << 10
	// clientCalm is after how long a silence the server may have gone: then no
	// body is sent before it has answered a command, so that a lost connection
	// cannot be mistaken for a lost reply to the message.
	clientCalm = time.Second
)

// Errors of a Client.
var (
	// ErrClientPlain: a password is sent under TLS only.
	ErrClientPlain = errors.New("no password without TLS")
	// ErrClientInjected: octets came between the answer to STARTTLS and the
	// handshake.
	ErrClientInjected = errors.New("octets in the clear after STARTTLS")
	// ErrClientUnasked: a reply was there before its command, so that nobody
	// knows which reply belongs to which command.
	ErrClientUnasked = errors.New("reply before there was a command")
	// ErrClientSequence: a reply of a class that its command cannot have.
	ErrClientSequence = errors.New("reply out of place")
	// ErrClientTLS is wrapped where a handshake fails, or the connection ends
	// before it.
	ErrClientTLS = errors.New("TLS handshake")
	// ErrClientUsed: the connection is of no use any more.
	ErrClientUsed = errors.New("connection has failed before")
	// ErrBodyRead is wrapped where the body that was handed in cannot be read.
	ErrBodyRead = errors.New("read body")
	// ErrArgument: an address or parameter would break a command line.
	ErrArgument = errors.New("control character in an address or parameter")
	// ErrNotOffered: the server does not offer what the call needs.
	ErrNotOffered = errors.New("not offered by the server")
)

// Client is the client's side of a dialogue, over one connection, which can
// carry any number of messages. It belongs to one goroutine. A refusal is a
// *Reply as error. Usable tells whether the connection can go on.
type Client struct {
	conn    net.Conn
	o       ClientOptions
	x       Extensions
	in      []byte // read and not parsed
	out     []byte
	block   []byte    // of a body; made when it is needed
	until   time.Time // no deadline is later; zero: there is no such bound
	heard   time.Time // when the last reply came
	peer    string    // what the server calls itself
	sent    int       // messages
	greeted bool      // the banner has been read
	tls     bool
	dead    bool // of no use any more
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
		{&o.Times.Setup, 10 * time.Minute}, {&o.Times.Message, 20 * time.Minute},
	} {
		setDefault(d.p, d.v)
	}
	_, secure := conn.(*tls.Conn)
	c := &Client{conn: conn, o: o, tls: secure}
	c.bound(o.Times.Setup)
	return c
}

// Extensions returns what the server offered in its last answer to EHLO.
func (c *Client) Extensions() Extensions { return c.x }

// Usable reports whether the connection can carry another message: no reply
// is missing, none came that was not asked for, and the server has not said
// that it closes.
func (c *Client) Usable() bool { return !c.dead && len(c.in) == 0 }

// TLS returns the state of the connection's TLS; false without.
func (c *Client) TLS() (tls.ConnectionState, bool) {
	if s, ok := c.conn.(*tls.Conn); ok {
		return s.ConnectionState(), true
	}
	return tls.ConnectionState{}, false
}

// Hello waits for the banner and greets: EHLO, or HELO where that is refused;
// LHLO in LMTP.
func (c *Client) Hello(ctx context.Context) error {
	defer c.watch(ctx)()
	if !c.greeted {
		r, err := c.reply(ctx, c.o.Times.Banner)
		if err != nil {
			return err
		}
		if err := c.expect(&r, 220); err != nil {
			return err
		}
		c.greeted, c.peer = true, firstWord(r.Text)
	}
	verb := "EHLO "
	if c.o.LMTP {
		verb = "LHLO " // RFC 2033 §4.1
	}
	r, err := c.command(ctx, verb+c.o.Hostname)
	if err != nil {
		return err
	}
	if r.Code == 250 {
		c.x, c.peer = r.Extensions(), firstWord(r.Text)
		return nil
	}
	c.x = Extensions{}
	if c.o.LMTP || c.dead || r.Temporary() {
		return c.expect(&r, 250)
	}
	if r, err = c.command(ctx, "HELO "+c.o.Hostname); err != nil { // RFC 5321 §3.2
		return err
	}
	return c.expect(&r, 250)
}

// StartTLS makes the connection secure and greets again.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) error {
	if !c.x.StartTLS {
		return fmt.Errorf("STARTTLS: %w", ErrNotOffered)
	}
	if err := c.startTLS(ctx, config); err != nil {
		return err
	}
	return c.Hello(ctx) // RFC 3207 §4.2: nothing that was offered before counts
}

func (c *Client) startTLS(ctx context.Context, config *tls.Config) error {
	defer c.watch(ctx)()
	r, err := c.command(ctx, "STARTTLS")
	var said *Reply
	switch {
	case err == nil:
	case ctx.Err() != nil, errors.As(err, &said), errors.Is(err, ErrReply), errors.Is(err, ErrClientUnasked):
		return err
	default: // it has gone, or says nothing: no TLS can be had
		return fmt.Errorf("%w: %w", ErrClientTLS, err)
	}
	if err := c.expect(&r, 220); err != nil {
		return err
	}
	c.x = Extensions{}
	if len(c.in) > 0 { // RFC 3207 §6: they could be taken for the secure server's
		c.dead = true
		return ErrClientInjected
	}
	if err := c.within(ctx, c.o.Times.Command); err != nil {
		return err
	}
	s := tls.Client(c.conn, config)
	if err := s.HandshakeContext(ctx); err != nil {
		c.dead = true
		return fmt.Errorf("%w: %w", ErrClientTLS, err)
	}
	c.conn, c.tls = s, true
	return nil
}

// Quit ends the session and closes the connection.
func (c *Client) Quit(ctx context.Context) error {
	unwatch := c.watch(ctx)
	r, err := c.command(ctx, "QUIT")
	if err == nil {
		err = c.expect(&r, 221)
	}
	unwatch()
	c.dead = true
	if cerr := c.conn.Close(); err != nil {
		return errors.Join(err, cerr)
	}
	return nil // the server has closed its side, or is about to: nothing can be lost
}

// Close closes the connection.
func (c *Client) Close() error {
	c.dead = true
	return c.conn.Close()
}

// expect makes an error of another reply than the one with this code. One that
// is no refusal either belongs to some other command, or to none.
func (c *Client) expect(r *Reply, code int) error {
	switch {
	case r.Code == code:
		return nil
	case r.Positive():
		return c.outOfPlace(r)
	}
	return r
}

func (c *Client) outOfPlace(r *Reply) error {
	c.dead = true
	return fmt.Errorf("%w: %d", ErrClientSequence, r.Code)
}

func firstWord(s string) string {
	if i := strings.IndexAny(s, " \n"); i >= 0 {
		s = s[:i]
	}
	return s[:min(len(s), HeloMax)]
}

// Peer is the name by which the server greeted: the first word of its answer
// to EHLO, or else of its banner.
func (c *Client) Peer() string { return c.peer }

// Leave says QUIT and closes without waiting for the answer.
func (c *Client) Leave() {
	if c.Usable() {
		_ = c.conn.SetDeadline(time.Time{})
		if c.o.Now != nil {
			_ = c.conn.SetDeadline(c.o.Now().Add(leaveWait))
		}
		_, _ = c.conn.Write([]byte("QUIT\r\n")) // if it cannot be said, the end of the connection says it
	}
	_ = c.Close()
}

// leaveWait is for six octets to get into the socket's buffer, which is empty.
const leaveWait = time.Second
