package dsn

import (
	"errors"
	"io"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Action is what was done about a recipient (RFC 3464 §2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed" // to a host that does not report successes
	Expanded  Action = "expanded"
)

// Limits of what a report holds.
const (
	// OriginalMax bounds in octets what is returned of a message: the whole
	// of it if it is no larger, else its header as far as this. The sender
	// knows what he sent; whoever did not send it should not get much.
	OriginalMax = 64 << 10
	// ParseMax bounds in octets what Parse looks at of a message. Reports are
	// a few KB; the message in them, which stands last, may be larger.
	ParseMax = 1 << 20

	// replyOctetsMax bounds the words of a remote host: they can have no end,
	// and what matters of them stands first.
	replyOctetsMax = 800
	// reasonOctetsMax bounds our own sentence.
	reasonOctetsMax = 400
	// subjectOctetsMax bounds what is repeated of the original's subject.
	subjectOctetsMax = 100
	// namesMax is how many recipients with one fate are listed for people;
	// programs get all.
	namesMax = 100
	// recipientsMax is how many recipients Parse gives: as many as a message
	// may have with us, and some more.
	recipientsMax = 2000
	// wordOctetsMax bounds a word in a field, so that its line has at most 998
	// octets (RFC 5322 §2.1.1).
	wordOctetsMax = 950
	// textWidthMax is how wide the text for people is, in characters.
	textWidthMax = 72
	// referencesMax is how many messages References names: the first and the
	// latest ones, with the bracketed ids of RFC 5322 each of 998 octets at most.
	referencesMax = 20
)

// ErrNoReport says that a message is no delivery status notification.
var ErrNoReport = errors.New("no delivery status notification")

// Report is a delivery status notification: what became of some recipients of
// one message. Build makes a message of it, Parse reads it from one.
type Report struct {
	// ID is what the Message-ID is made of; it must be new and of the
	// characters of a dot-atom. Parse sets it to the whole Message-ID.
	ID  string
	Now time.Time // when the report is made
	// Hostname is of the host that reports (Reporting-MTA).
	Hostname message.Domain
	To       message.Address // the sender of the message; where the report goes

	// What the sender's host said of the message, and when it came.
	EnvID   string // ENVID=, xtext as received
	Ret     smtp.Ret
	Arrival time.Time

	Recipients []Recipient

	// Original gives the message; Build reads at most its first OriginalMax
	// octets and one more. nil: nothing of it is returned.
	Original io.Reader

	// OriginalHeader is the header of the message as Parse found it.
	OriginalHeader []byte
}

// Recipient is what became of one recipient.
type Recipient struct {
	Final    message.Address
	Original string // ORCPT=, type ";" xtext as received; "" if there was none
	Action   Action
	Status   smtp.EnhancedCode // if "", it is made of Reply or else of Action
	// RemoteMTA is the name of the host that said Reply; "" if it is our own
	// finding.
	RemoteMTA  string
	Reply      string    // the remote's own words with their code
	Reason     string    // ours: one sentence for people
	LastTry    time.Time // zero: there was none
	RetryUntil time.Time // of Delayed
}

// errReport is an error of a Report that cannot be told.
func errReport(problem string) error { return errors.New("make a report: " + problem) }

func (r *Report) check() error {
	switch {
	case r.To.IsZero():
		return errReport("there is nobody to tell") // RFC 3461 §6.1: not to the null reverse-path
	case !dotAtom(r.ID):
		return errReport("the id is no dot-atom")
	case r.Hostname == "":
		return errReport("the host has no name")
	case len(r.Recipients) == 0:
		return errReport("it is about nobody")
	}
	for _, rc := range r.Recipients {
		if rc.Final.IsZero() {
			return errReport("a recipient has no address")
		}
		if !rc.Action.known() {
			return errReport("a recipient has no fate")
		}
	}
	return nil
}

func (a Action) known() bool {
	switch a {
	case Failed, Delayed, Delivered, Relayed, Expanded:
		return true
	}
	return false
}

func dotAtom(s string) bool {
	_, err := message.ParseAddress(s + "@id.invalid")
	return err == nil && s != "" && s[0] != '"' && (message.Address{Local: s}).ASCII()
}
