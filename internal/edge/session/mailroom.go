package session

import (
	"context"
	"errors"
	"io"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Envelope is what a Mailroom gets to know of a message before its body.
type Envelope = smtp.Envelope

// Mailroom decides what is taken in and takes it. Its methods are called by
// the goroutines of many sessions at once. An error that is (or wraps) a
// *smtp.Reply is the client's answer; any other is a fault of ours: 451.
type Mailroom interface {
	// Recipient says whether mail of from may be sent to to.
	Recipient(ctx context.Context, from, to message.Address) error
	// Begin begins a body for the accepted recipients of e, which the
	// Mailroom may keep.
	Begin(ctx context.Context, e Envelope) (Body, error)
}

// SenderChecker is a Mailroom that is also asked at MAIL whether the sender
// may send: e has the session's facts, with the account that has logged in,
// and no recipients yet.
type SenderChecker interface {
	Sender(ctx context.Context, e *Envelope) error
}

// Body is a message on its way in. Write gets its octets in order, as they
// arrive, and must not keep them. After an error of Write the session calls
// Abort.
type Body interface {
	io.Writer
	// Commit takes the message over: when it returns nil the message is
	// durable, and id names it to the client. It is called once, and Abort
	// is not called after it.
	Commit(ctx context.Context) (id string, err error)
	// Abort gives the body up.
	Abort()
}

// replyTo makes the client's answer of an error.
func replyTo(err error) *smtp.Reply {
	var r *smtp.Reply
	if errors.As(err, &r) && (r.Code/100 == 4 || r.Code/100 == 5) && r.Enhanced.Valid(r.Code) {
		return r
	}
	return &smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Local error, try again later"}
}

// isFault reports whether an error is ours rather than an answer.
func isFault(err error) bool {
	var r *smtp.Reply
	return err != nil && !errors.As(err, &r)
}
