package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"syscall"
	"time"
)

// delivery is one that a good sender makes.
type delivery struct {
	known bool
	who   int // the sender's number in its class: makes its names
	from  netip.Addr
	id    int // of the message
}

// outcome is what became of it.
type outcome struct {
	delivery
	at      time.Duration        // when it began, in its phase
	wait    time.Duration        // until the banner; 0 if there was none
	took    time.Duration        // from connecting to the last 250, or to the failure
	steps   [steps]time.Duration // what each took
	failure string               // empty: it was accepted
}

// The steps of a delivery.
const (
	stepConnect = iota
	stepBanner
	stepEHLO
	stepMAIL
	stepRCPT
	stepDATA
	stepMessage
	steps
)

func stepNames() [steps]string {
	return [steps]string{"connect", "banner", "ehlo", "mail", "rcpt", "data", "message"}
}

const (
	knownSenders = 16 // known good senders, of 127.1.0.0 to 127.1.15.0
	newSenders   = 240
)

// sender delivers good mail.
type sender struct {
	to       netip.AddrPort
	rcpt     string
	patience time.Duration
}

// knownSender gives the n-th of the known.
func knownSender(n int) delivery {
	n %= knownSenders
	return delivery{known: true, who: n, from: netip.AddrFrom4([4]byte{127, 1, byte(n), 25})}
}

// newSender gives the n-th of the new: each from a /24 of its own.
func newSender(n int) delivery {
	return delivery{who: n, from: netip.AddrFrom4([4]byte{127, 1, byte(knownSenders + n%newSenders), byte(25 + n/newSenders)})}
}

func (d delivery) domain() string {
	if d.known {
		return fmt.Sprintf("known%d.test", d.who)
	}
	return fmt.Sprintf("new%d.test", d.who)
}

// deliver makes one delivery, as a mail server would: one command at a time.
func (s *sender) deliver(ctx context.Context, d delivery) outcome {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	o := outcome{delivery: d}
	began := time.Now()
	last := began
	err := s.talk(ctx, d, func(step int) {
		now := time.Now()
		o.steps[step] = now.Sub(last)
		last = now
	})
	o.took = time.Since(began)
	if o.steps[stepBanner] > 0 {
		o.wait = o.steps[stepConnect] + o.steps[stepBanner]
	}
	o.failure = failure(err)
	return o
}

// talk says when each step is done.
func (s *sender) talk(ctx context.Context, d delivery, done func(step int)) error {
	names := stepNames()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.from, 0)), KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp4", s.to.String())
	if err != nil {
		return failed{names[stepConnect], err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return failed{names[stepConnect], err}
		}
	}
	done(stepConnect)
	r := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, repliesMax)))
	if err := expect(r, 2); err != nil {
		return failed{names[stepBanner], err}
	}
	done(stepBanner)
	for i, c := range []struct {
		text  string
		class int
	}{
		{"EHLO mail." + d.domain() + "\r\n", 2},
		{"MAIL FROM:<sender@" + d.domain() + ">\r\n", 2},
		{"RCPT TO:<" + s.rcpt + ">\r\n", 2},
		{"DATA\r\n", 3},
		{s.message(d), 2},
	} {
		step := stepEHLO + i
		if _, err := io.WriteString(conn, c.text); err != nil {
			return failed{names[step], err}
		}
		if err := expect(r, c.class); err != nil {
			return failed{names[step], err}
		}
		done(step)
	}
	// The mail is accepted: whatever comes now changes nothing.
	_, _ = io.WriteString(conn, "QUIT\r\n")
	_, _, _ = r.ReadResponse(2)
	return nil
}

// repliesMax bounds what is read of a server: a dozen replies of RFC 5321
// §4.5.3.1.5 and room for stories.
const repliesMax = 64 << 10

func (s *sender) message(d delivery) string {
	return fmt.Sprintf("Date: %s\r\nFrom: Good Sender <sender@%[2]s>\r\nTo: <%[3]s>\r\nSubject: Good mail %[4]d\r\nMessage-ID: <%[4]d.%[5]d@%[2]s>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"+
		"Hello,\r\n\r\nthis is mail that somebody waits for, sent while a wave comes in.\r\n\r\nRegards\r\n.\r\n",
		time.Now().Format(time.RFC1123Z), d.domain(), s.rcpt, d.id, time.Now().UnixNano())
}

func expect(r *textproto.Reader, class int) error {
	_, _, err := r.ReadResponse(class)
	return err
}

// failed says at which step a delivery failed.
type failed struct {
	step string
	err  error
}

func (f failed) Error() string { return failure(f) }

func (f failed) Unwrap() error { return f.err }

// failure names what happened in few enough ways to be counted: "421 at
// banner".
func failure(err error) string {
	var f failed
	var reply *textproto.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &f):
		return err.Error()
	case errors.As(f.err, &reply):
		return fmt.Sprintf("%d at %s", reply.Code, f.step)
	case errors.Is(f.err, os.ErrDeadlineExceeded), errors.Is(f.err, context.DeadlineExceeded), errors.Is(f.err, net.ErrClosed):
		return "no answer at " + f.step
	case errors.Is(f.err, syscall.ECONNREFUSED):
		return "refused at " + f.step
	case errors.Is(f.err, syscall.ECONNRESET), errors.Is(f.err, syscall.EPIPE):
		return "reset at " + f.step
	case errors.Is(f.err, io.EOF), errors.Is(f.err, io.ErrUnexpectedEOF):
		return "closed at " + f.step
	default:
		return "error at " + f.step
	}
}
