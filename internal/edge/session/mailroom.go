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

// Mailroom takes mail in, or decides not to. It is called by the goroutines of
// many sessions at once; what it opens belongs to one of them. In all calls an
// error that is (or wraps) a *smtp.Reply is the client's answer; any other is
// a fault of ours: 451.
type Mailroom interface {
	// Open begins a transaction at MAIL, or refuses the sender. e has the
	// session's facts, with the account that has logged in. It stays the
	// session's and is to be read only during calls: RCPT adds to its
	// recipients. After a hand-over it may have some already, about which
	// Recipient is asked next.
	Open(ctx context.Context, e *Envelope) (Transaction, error)
}

// Transaction is one MAIL with what follows it.
type Transaction interface {
	// Recipient says whether the message may be sent to to, which is the last
	// recipient of the envelope at that moment.
	Recipient(ctx context.Context, to message.Address) error
	// Begin begins the body, for the accepted recipients of e, which may be
	// kept. It is called at most once.
	Begin(ctx context.Context, e Envelope) (Body, error)
	// Close ends the transaction, whatever has become of it. It is called
	// once, after the body has ended.
	Close()
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
