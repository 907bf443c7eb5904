package fate

import (
	"errors"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// ErrNoSuchMessage says that no message of this LSN was accepted, or that its
// books have been closed for longer than they are kept.
var ErrNoSuchMessage = errors.New("no such message")

// State is where one recipient of a message stands. The numbers are frozen:
// they are in the journal.
type State uint8

// The states. Those up to Held are open: something is still to be done. The
// others are ends, and a recipient that has ended never changes again.
const (
	Queued    State = 1 // to be tried at Due
	Deferred  State = 2 // was tried, is to be tried again at Due
	Held      State = 3 // waits for the operator
	Delivered State = 8 // filed here, or taken by a local inner server
	Relayed   State = 9 // another host has said 250
	Bounced   State = 10
	Discarded State = 11 // by a rule, which Reason names
	SetAside  State = 12 // its body is damaged: kept, and the operator is told
)

// Ended reports whether a recipient in this state never changes again.
func (s State) Ended() bool { return s >= Delivered }

// String is the state's word in tables and JSON: "queued", "set aside" ….
func (s State) String() string {
	switch s {
	case Queued:
		return "queued"
	case Deferred:
		return "deferred"
	case Held:
		return "held"
	case Delivered:
		return "delivered"
	case Relayed:
		return "relayed"
	case Bounced:
		return "bounced"
	case Discarded:
		return "discarded"
	case SetAside:
		return "set aside"
	}
	return "unknown"
}

// Source is how a message came here. The numbers are frozen.
type Source uint8

// The sources.
const (
	Inbound   Source = 1 // from another host
	Submitted Source = 2 // from a user of ours
	System    Source = 3 // made here: a DSN, a report, a notice
)

// String is the source's word in tables and JSON.
func (s Source) String() string {
	switch s {
	case Inbound:
		return "inbound"
	case Submitted:
		return "submitted"
	case System:
		return "system"
	}
	return "unknown"
}

// Message is one accepted message with what became of each recipient. All but
// the recipients' standings is fixed when it is accepted.
type Message struct {
	LSN       journal.LSN // of its Message record; 0 before it is stored
	ID        string      // of the envelope: what the client was told with its 250
	Source    Source
	Account   account.ID // who submitted it; 0 is nobody
	Received  time.Time
	Size      int64  // octets of the stored body, our prefix included
	MessageID string // of the header, with its angle brackets; "" if there is none

	// Facts of the session, for the trace.
	Session  string
	RemoteIP netip.Addr
	Protocol string // ESMTPSA and the like
	TLS      string

	// What the next host is to be told.
	From       message.Address // the zero Address is the null reverse-path
	Body       smtp.BodyType
	UTF8       bool
	RequireTLS bool // RFC 8689, and so is TLSOptional
	// TLSOptional says that the header has "TLS-Required: No": delivery matters
	// more to the sender than what the recipient's domain asks of TLS. Never
	// together with RequireTLS.
	TLSOptional bool
	Ret         smtp.Ret
	EnvID       string // xtext, as received
	// Skip is how many octets at the start of the stored body stay here (the
	// Return-Path field); Headers are header fields that go before the rest
	// (the DKIM signature), each with its CRLF.
	Skip    int64
	Headers string

	Recipients []Recipient
	// Miscounted says that the sums count its recipients otherwise than they
	// are. Only what reads the tables, and all recipients, tells.
	Miscounted bool
}

// Recipient is one address that a message goes to, after aliases were
// expanded. Recipients are known by their place in Message.Recipients.
type Recipient struct {
	Address message.Address
	Rcpt    message.Address // as named at RCPT TO; zero if it is the same
	// Sender is the reverse-path for this recipient, where it is another than
	// Message.From (SRS, when mail is forwarded).
	Sender  message.Address
	Account account.ID // of a local recipient
	Notify  smtp.Notify
	Orcpt   string // type ";" xtext, as received
	Standing
}

// Standing is what has become of a recipient so far.
type Standing struct {
	State    State
	Due      time.Time // of an open one: not before; zero is at once
	Attempts int
	Changed  time.Time // when State or Due was last set; zero: Received
	Warned   bool      // a delay was reported to the sender
	Route    string    // the operator's override of the next hop; "" is none
	Last     Event     // the newest of Events; zero if nothing has happened yet
	// Events are what happened, oldest first: the first few and the last ones.
	// Only Load and Trace fill them.
	Events []Event
}

// Event is one transition in a recipient's life.
type Event struct {
	At     time.Time
	State  State
	Via    string // where: "INBOX of one@demo.test", "mx.example.org [192.0.2.1]:25"
	TLS    string // policy and protocol: "dane, TLS 1.3", "none offered"; "" if it does not apply
	Reply  string // the other side's words, at most ReplyMax octets
	Reason string // ours, one sentence, at most ReasonMax octets
	DSN    string // id of the message that told the sender
	By     string // who decided, where it was an operator
}

// Limits of an Event's texts in octets; what is longer is cut. Replies of
// hostile servers have no end, and every attempt is kept for weeks.
const (
	ReplyMax  = 512
	ReasonMax = 256
)

// Change is a transition of some recipients of one message.
type Change struct {
	LSN  journal.LSN
	Rcpt []int // places in Message.Recipients, ascending
	Event
	Due     time.Time // of an open state
	Attempt bool      // it was tried: Attempts grows by one
	Warned  bool      // a delay was reported
	Route   *string   // a new override of the next hop; nil: as it was
	Owe     Success   // the sender is still to be told of it; 0: he is not, or was
}

// Open is a recipient that has not ended: what the queue needs to know of it.
type Open struct {
	LSN      journal.LSN
	Rcpt     int
	State    State
	Due      time.Time
	Received time.Time
	Attempts int
	Warned   bool
	Account  account.ID // who submitted the message; 0 is nobody
	Domain   message.Domain
	Route    string
}

// Update tells the queue what the journal has come to say of a recipient.
type Update struct {
	Open
	Fresh bool // accepted just now; else a Change
}
