package delivery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// failure is why recipients did not get a message.
type failure struct {
	state  fate.State        // Deferred, Bounced or SetAside
	status smtp.EnhancedCode // of our own finding; "" where reply has the word
	reason string
	reply  *smtp.Reply
	via    string
	tls    string
	health queue.Health
	retry  time.Duration
	last   bool // nothing else is to be tried now
	us     bool // the host is this one
}

// later and never are findings of our own.
func later(status smtp.EnhancedCode, health queue.Health, format string, args ...any) *failure {
	return &failure{state: fate.Deferred, status: status, health: health, reason: fmt.Sprintf(format, args...)}
}

func never(status smtp.EnhancedCode, health queue.Health, format string, args ...any) *failure {
	return &failure{state: fate.Bounced, status: status, health: health, reason: fmt.Sprintf(format, args...)}
}

// refusedBy is a refusal by another host.
func refusedBy(r *smtp.Reply, health queue.Health, format string, args ...any) *failure {
	f := &failure{state: fate.Deferred, reply: r, health: health, reason: fmt.Sprintf(format, args...)}
	if !r.Temporary() {
		f.state = fate.Bounced
	}
	return f
}

// interrupted is for an attempt that we gave up ourselves: it is made again
// soon, and says nothing about the host.
func interrupted() *failure {
	f := later("4.3.2", queue.Unknown, "The attempt was interrupted: this host stops or had no time left.")
	f.retry, f.last = time.Second, true
	return f
}

// at says where a failure happened.
func (f *failure) at(via, tls string) *failure {
	if f.via == "" {
		f.via, f.tls = via, tls
	}
	return f
}

// silent reports whether there was no answer, be it to SYN or to a command.
func (f *failure) silent() bool { return f.health == queue.Down && f.reply == nil && !f.last }

// outcome is what the queue is told. A Reason without a Reply begins with its
// enhanced status code.
func (f *failure) outcome() queue.Outcome {
	o := queue.Outcome{RetryAfter: f.retry}
	o.State, o.Via, o.TLS = f.state, f.via, f.tls
	if f.reply != nil {
		o.Reply = cut(f.reply.String(), fate.ReplyMax)
		o.Reason = cut(f.reason, fate.ReasonMax)
	} else {
		o.Reason = cut(string(f.status)+" "+f.reason, fate.ReasonMax)
	}
	return o
}

// sooner is the failure that says more of two of different hosts: while one of
// them may yet take the message it is not returned, and the words of a host
// are more than its silence.
func sooner(a, b *failure) *failure {
	switch {
	case a == nil:
		return b
	case a.state != b.state:
		if a.state == fate.Deferred {
			return a
		}
		return b
	case a.reply != nil && b.reply == nil:
		return a
	}
	return b
}

// cut shortens a text that others have a hand in to so many octets, and takes
// out what would break a line, or be an order to a terminal.
func cut(s string, octetsMax int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s[:min(len(s), 2*octetsMax)])
	if len(s) <= octetsMax {
		return s
	}
	s = s[:octetsMax]
	for {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			return s
		}
		s = s[:len(s)-1]
	}
}

// lost is for a connection that failed before the host had a say.
func lost(ctx context.Context, err error, doing string) *failure {
	var r *smtp.Reply
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case errors.As(err, &r):
		return refusedBy(r, queue.Busy, "The host ended the session while %s.", doing)
	}
	return later("4.4.2", queue.Down, "%s while %s.", cause(err), doing)
}

// unreached is for a peer to which there is no connection.
func (p *peer) unreached(err error) *failure {
	f := later("4.4.1", queue.Down, "%s.", cause(err))
	if !p.local() {
		return f
	}
	switch s := p.hop.Socket; {
	case errors.Is(err, fs.ErrNotExist):
		f.reason = "There is no socket " + s + ": the program that makes it does not run, or makes it elsewhere."
	case errors.Is(err, fs.ErrPermission):
		f.reason = "This host may not use the socket " + s + ": its user needs the right to write to it, and to enter its folder."
	case errors.Is(err, syscall.ECONNREFUSED):
		f.reason = "Nobody listens at the socket " + s + "."
	case errors.Is(err, syscall.EAGAIN):
		f.health, f.reason = queue.Busy, "As many connections as it takes wait at the socket "+s+"."
	}
	return f
}

// cause says in words what became of a connection.
func cause(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "The host did not answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "The host refused the connection"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "There is no way to the host"
	case errors.Is(err, smtp.ErrReply), errors.Is(err, smtp.ErrClientSequence), errors.Is(err, smtp.ErrClientUnasked), errors.Is(err, smtp.ErrClientInjected):
		return "The host broke the protocol (" + err.Error() + ")"
	case errors.As(err, &op) && op.Op == "dial":
		return "The connection failed (" + op.Err.Error() + ")"
	}
	return "The connection was lost"
}
