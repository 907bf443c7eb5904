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

// ErrNoReport says that a message is no delivery status notification.
var ErrNoReport = errors.New("no delivery status notification")

// Report is a delivery status notification: what became of some recipients of
// one message. Build makes the message of it, Parse reads it from one.
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
	Reply      string // the remote's own words with their code, lines joined by "; "
	Reason     string // ours: one sentence for people
	LastTry    time.Time
	RetryUntil time.Time // of Delayed
}

// Build makes the message. It is pure: the same Report gives the same octets.
// The lines end in CRLF. The error is of a Report that cannot be told, or of
// reading Original.
func Build(r Report) ([]byte, error) { return nil, errors.New("no recipients") }

// Parse reads a message that may be a delivery status notification, of which
// it looks at the first ParseMax octets. The error is ErrNoReport or that of
// reading.
func Parse(r io.ReaderAt, size int64) (Report, error) { return Report{}, ErrNoReport }
