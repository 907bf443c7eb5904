package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Receipt is what a server said to a message.
type Receipt struct {
	Sender     Reply   // to MAIL; zero if nothing was said
	Recipients []Reply // to each recipient, in order; fewer if the dialogue ended before
	// Final is what was said to the message as a whole: to its end, or to DATA
	// if that was refused. Zero: nothing, or nothing that counts, since the
	// sender or every recipient had been refused.
	Final Reply
	// Each is LMTP's answer to the message for each recipient (RFC 2033 §4.2),
	// zero for those that had been refused. nil otherwise.
	Each []Reply
	// Ended says that the end of the message was sent, or may have been: a
	// recipient without a verdict may have got it.
	Ended bool
}

// Verdict is what decided about a recipient; nil if the server has not said.
func (rc *Receipt) Verdict(i int) *Reply {
	switch {
	case rc.Sender.Code/100 > 3:
		return &rc.Sender
	case i >= len(rc.Recipients):
		return nil
	case rc.Recipients[i].Code/100 != 2:
		return &rc.Recipients[i]
	case rc.Each != nil && rc.Each[i].Code != 0:
		return &rc.Each[i]
	case rc.Final.Code != 0:
		return &rc.Final
	}
	return nil
}

// refused returns the refusal that a transaction ends with before its body:
// the sender's, or the last one if no recipient was accepted.
func (rc *Receipt) refused() *Reply {
	if rc.Sender.Code/100 > 3 {
		return &rc.Sender
	}
	for i := range rc.Recipients {
		if rc.Recipients[i].Code/100 == 2 {
			return nil
		}
	}
	if n := len(rc.Recipients); n > 0 {
		return &rc.Recipients[n-1]
	}
	return nil
}

// transfer is one message on its way.
type transfer struct {
	c    *Client
	ctx  context.Context // of one call of Send
	e    *Envelope
	body io.Reader
	size int64 // -1: not known
	rc   Receipt
}

// Send sends one message. Commands are pipelined where that is offered; with
// Chunking a small message goes out whole, in one write. The body's lines end
// in CRLF; a last line that does not is completed by DATA.
//
// The error is a *Reply if the sender, every recipient or the message was
// refused. If some recipients were accepted and the message for one of them
// too, it is nil, and Receipt says which. Any other error is a lost
// connection, or a body that cannot be had or sent; the Receipt has what was
// said until then.
func (c *Client) Send(ctx context.Context, e *Envelope, body io.Reader) (Receipt, error) {
	if len(e.Recipients) == 0 {
		return Receipt{}, errors.New("send: no recipients")
	}
	if c.dead {
		return Receipt{}, ErrClientUsed
	}
	if !sound(e) {
		return Receipt{}, ErrArgument
	}
	defer c.watch(ctx)()
	t := &transfer{c: c, ctx: ctx, e: e, body: body, size: sizeOf(body)}
	c.bound(c.o.Times.Message + time.Duration(max(t.size, e.Size, 0)/clientRateMin)*time.Second)
	defer func() {
		c.until = time.Time{}
		c.sent++
	}()
	err := t.run()
	return t.rc, err
}

// sound is the second wall: whatever let them in, no address and no parameter
// makes two commands of one.
func sound(e *Envelope) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	bad := func(s string) bool { return strings.ContainsFunc(s, control) }
	if bad(e.From.Local) || bad(string(e.From.Domain)) || bad(e.EnvID) || bad(e.Auth) {
		return false
	}
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if bad(r.To.Local) || bad(string(r.To.Domain)) || bad(r.Orcpt) {
			return false
		}
	}
	return true
}

func (t *transfer) run() error {
	c := t.c
	chunks := c.o.Chunking && c.x.Chunking && t.size >= 0
	if chunks && c.x.Pipelining && t.size <= clientBlock && len(t.e.Recipients) <= atOnceRecipients && c.sure() {
		return t.atOnce()
	}
	last := ""
	if !chunks {
		last = "DATA\r\n"
	}
	if err := t.commands(last); err != nil {
		return err
	}
	if chunks || !c.x.Pipelining {
		if refused := t.rc.refused(); refused != nil {
			return c.refusal(t.ctx, refused)
		}
	}
	if chunks {
		return t.chunks()
	}
	if !c.x.Pipelining {
		c.out = append(c.out[:0], last...)
		if err := c.send(t.ctx, c.o.Times.Data); err != nil {
			return err
		}
	}
	return t.data()
}

// sizeOf is how many octets a body has, -1 if that is not known.
func sizeOf(body io.Reader) int64 {
	if b, ok := body.(interface{ Len() int }); ok {
		return int64(b.Len())
	}
	return -1
}

// commands sends MAIL, RCPT and last, all together if the server takes
// pipelined commands (RFC 2920 §3.1), else without last. It reads the replies
// to all but last.
func (t *transfer) commands(last string) error {
	c := t.c
	c.out = append(AppendMail(c.out[:0], t.e, c.x), '\r', '\n')
	pending := 1
	for i := range t.e.Recipients {
		if !c.x.Pipelining || len(c.out) > pipelineMax {
			if err := t.drain(pending); err != nil {
				return err
			}
			if pending = 0; !c.x.Pipelining && t.rc.Sender.Code/100 != 2 {
				return nil
			}
		}
		c.out = append(AppendRcpt(c.out, &t.e.Recipients[i], c.x), '\r', '\n')
		pending++
	}
	if c.x.Pipelining {
		c.out = append(c.out, last...)
	}
	return t.drain(pending)
}

// drain sends what is in out and reads so many replies to MAIL and RCPT.
func (t *transfer) drain(pending int) error {
	if err := t.c.send(t.ctx, t.c.o.Times.Command); err != nil {
		return t.c.lastWord(t.ctx, err)
	}
	for range pending {
		if err := t.next(); err != nil {
			return err
		}
	}
	return nil
}

// next reads the reply to MAIL, or to the next RCPT.
func (t *transfer) next() error {
	r, err := t.c.reply(t.ctx, t.c.o.Times.Command)
	switch {
	case err != nil:
		return err
	case r.Code == 421: // it speaks of the connection, and nothing comes after it
		return &r
	case r.Code/100 == 3:
		return t.c.outOfPlace(&r)
	case t.rc.Sender.Code == 0:
		t.rc.Sender = r
	default:
		t.rc.Recipients = append(t.rc.Recipients, r)
	}
	return nil
}

// data reads the answer to DATA and sends the body.
func (t *transfer) data() error {
	c := t.c
	r, err := c.reply(t.ctx, c.o.Times.Data)
	if err != nil {
		return err
	}
	refused := t.rc.refused()
	switch {
	case r.Code/100 == 2:
		return c.outOfPlace(&r)
	case r.Code/100 != 3:
		if refused == nil {
			refused, t.rc.Final = &r, r
		}
		return c.refusal(t.ctx, refused)
	case refused != nil:
		return t.inVain(refused)
	}
	if err := t.dotted(); err != nil {
		return err
	}
	return t.verdicts()
}

// inVain ends a DATA that was pipelined and accepted although there is nobody
// to send to: RFC 2920 §3.1 has an empty body then. Where the server may think
// that there is somebody, the connection is closed instead.
func (t *transfer) inVain(refused *Reply) error {
	c := t.c
	for i := range t.rc.Recipients {
		if t.rc.Recipients[i].Code/100 == 2 {
			c.dead = true
		}
	}
	if c.o.LMTP || c.dead {
		c.dead = true
		return refused
	}
	c.out = append(c.out[:0], ".\r\n"...)
	if err := c.send(t.ctx, c.o.Times.Block); err != nil {
		return refused
	}
	if r, err := c.reply(t.ctx, c.o.Times.Command); err == nil && r.Code/100 == 3 {
		c.dead = true
	}
	return c.refusal(t.ctx, refused)
}

// refusal clears up behind a transaction that did not come about. The
// refusal stands, whatever becomes of the connection.
func (c *Client) refusal(ctx context.Context, r *Reply) error {
	if c.dead {
		return r
	}
	if reset, err := c.command(ctx, "RSET"); err != nil || reset.Code/100 != 2 {
		c.dead = true
	}
	return r
}

// verdicts reads what is said to the end of the message.
func (t *transfer) verdicts() error {
	c := t.c
	c.bound(c.o.Times.Final) // whatever time it took: a reply that is not waited for is a message twice
	if !c.o.LMTP {
		r, err := c.reply(t.ctx, c.o.Times.Final)
		switch {
		case err != nil:
			return err
		case r.Code/100 == 3:
			return c.outOfPlace(&r)
		}
		t.rc.Final = r
		if r.Code/100 != 2 {
			return &t.rc.Final
		}
		return nil
	}
	return t.each()
}

// each reads LMTP's replies, one for each recipient that was accepted.
func (t *transfer) each() error {
	c := t.c
	t.rc.Each = make([]Reply, len(t.rc.Recipients))
	var last *Reply
	taken := false
	for i := range t.rc.Recipients {
		if t.rc.Recipients[i].Code/100 != 2 {
			continue
		}
		c.bound(c.o.Times.Final) // each may take as long as one alone
		r, err := c.reply(t.ctx, c.o.Times.Final)
		switch {
		case err != nil:
			return err
		case r.Code/100 == 3:
			return c.outOfPlace(&r)
		case r.Code == 421:
			return &r
		}
		t.rc.Each[i] = r
		taken = taken || r.Code/100 == 2
		last = &t.rc.Each[i]
	}
	if taken {
		return nil
	}
	return last
}

// atOnce sends commands and body in one write, by one BDAT (RFC 3030 §4.2).
func (t *transfer) atOnce() error {
	c := t.c
	c.out = append(AppendMail(c.out[:0], t.e, c.x), '\r', '\n')
	for i := range t.e.Recipients {
		c.out = append(AppendRcpt(c.out, &t.e.Recipients[i], c.x), '\r', '\n')
	}
	c.appendBdat(t.size, true)
	at := len(c.out)
	c.out = append(c.out, make([]byte, t.size)...)
	if _, err := io.ReadFull(t.body, c.out[at:]); err != nil {
		c.out = c.out[:0]
		return fmt.Errorf("%w: %w", ErrBodyRead, err) // nothing was sent
	}
	t.rc.Ended = true
	err := c.send(t.ctx, c.o.Times.Block)
	if err != nil {
		err = c.lastWord(t.ctx, err)
	}
	for i := 0; err == nil && i < 1+len(t.e.Recipients); i++ {
		err = t.next()
	}
	if err != nil {
		var said *Reply
		t.rc.Ended = !errors.As(err, &said) // 421: it goes, and takes nothing with it
		return err
	}
	refused := t.rc.refused()
	if refused == nil || !c.o.LMTP {
		if err := t.verdicts(); refused == nil {
			return t.chunkRefusal(err)
		}
	} else if _, err := c.reply(t.ctx, c.o.Times.Final); err != nil { // RFC 2033 §4.2: one 503 for nobody
		return refused
	}
	t.rc.Final, t.rc.Ended = Reply{}, false
	return c.refusal(t.ctx, refused)
}

// chunkRefusal clears up where a chunk was refused (RFC 3030 §2: only RSET
// ends the transaction then).
func (t *transfer) chunkRefusal(err error) error {
	var r *Reply
	if errors.As(err, &r) {
		return t.c.refusal(t.ctx, r)
	}
	return err
}

// chunks sends the body by BDAT, RFC 3030 §2.
func (t *transfer) chunks() error {
	c := t.c
	for left := t.size; ; {
		n := min(left, clientChunk)
		last := n == left
		c.out = c.out[:0]
		c.appendBdat(n, last)
		if err := t.chunk(n, last); err != nil {
			return err
		}
		if left -= n; last {
			return t.chunkRefusal(t.verdicts())
		}
		r, err := c.reply(t.ctx, c.o.Times.Final)
		switch {
		case err != nil:
			return err
		case r.Code/100 == 3:
			return c.outOfPlace(&r)
		case r.Code/100 != 2:
			t.rc.Final = r
			return c.refusal(t.ctx, &t.rc.Final)
		}
	}
}

// chunk sends the octets of one chunk, after what is in out.
func (t *transfer) chunk(size int64, last bool) error {
	c := t.c
	for left, begun := size, false; !begun || left > 0; begun = true {
		at := len(c.out)
		n := min(left, clientBlock)
		c.out = append(c.out, make([]byte, n)...)
		if _, err := io.ReadFull(t.body, c.out[at:]); err != nil {
			c.dead = true // it waits for octets that it cannot be given
			return fmt.Errorf("%w: %w", ErrBodyRead, err)
		}
		left -= n
		t.rc.Ended = last && left == 0
		if err := c.send(t.ctx, c.o.Times.Block); err != nil {
			return t.lastWord(err)
		}
	}
	return nil
}

func (c *Client) appendBdat(size int64, last bool) {
	c.out = strconv.AppendInt(append(c.out, "BDAT "...), size, 10)
	if last {
		c.out = append(c.out, " LAST"...)
	}
	c.out = append(c.out, '\r', '\n')
}
