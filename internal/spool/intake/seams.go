package intake

import (
	"context"
	"io"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// Queue carries mail to other hosts.
type Queue interface {
	// Room says why no more recipients can be queued now, nil if they can.
	Room() error
}

// Rewriter makes senders that forwarded mail may have, and undoes it (SRS). An
// *mailauth.SRS is one.
type Rewriter interface {
	// Forward returns the sender to forward mail of this sender with.
	Forward(sender message.Address) message.Address
	// Ours reports whether an address looks like one that Forward makes.
	Ours(addr message.Address) bool
	// Reverse returns the sender that such an address was made of; an error
	// if it is forged or too old.
	Reverse(addr message.Address) (message.Address, error)
}

// Signer signs what leaves (DKIM).
type Signer interface {
	// Begin returns the signature of one message whose author is of this
	// domain; nil if there is no key for it.
	Begin(author message.Domain) Signature
}

// Signature is the signature of one message under way.
type Signature interface {
	// Write takes the body as it arrives, in order.
	io.Writer
	// Fields returns the header fields of the signature, each with its CRLF,
	// for the message of this header and the body that was written.
	Fields(header []byte) (string, error)
}

// Limiter restrains what users send. It is asked by many sessions at once. A
// reply is what the client hears instead of a yes.
type Limiter interface {
	// Recipient says at RCPT whether the user of e may write to to.
	Recipient(e *smtp.Envelope, to message.Address) *smtp.Reply
	// Message says, when the body has ended, whether the message may go. The
	// recipients of e are those that were named, not what aliases make of them.
	Message(e *smtp.Envelope) *smtp.Reply
}

// Correspondents learns which domains our users write to.
type Correspondents interface{ Correspond(domain string) }

// Post is a message of the host's own: a delivery status notification, a
// report, a notice.
type Post struct {
	From message.Address // zero: the null reverse-path
	To   []message.Address
	Body []byte // the whole message with CRLF line ends, Date and Message-ID included
	// Changes are facts of other messages that are to become true together
	// with this message: that a recipient bounced, and this tells of it.
	Changes []fate.Change
	Told    fate.Owed // reports of success that this message is
	// Receipt files the message for accounts of ours where they keep what
	// they sent, as seen, rather than in their INBOX.
	Receipt bool
}

// Post takes in a message of the host's own. When it returns nil it is durable,
// and so are its Changes; id names it. Neither quotas nor the queue's room nor
// limits refuse it. A recipient that does not exist, or no longer, is one that
// has no one to tell: its fate is Discarded, and it is no error.
func (i *Intake) Post(ctx context.Context, p Post) (id string, err error) {
	return i.post(ctx, p)
}
