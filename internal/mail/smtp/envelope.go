package smtp

import (
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// BodyType is the BODY= parameter of MAIL, RFC 6152 §2.
type BodyType uint8

// The body types. BINARYMIME (RFC 3030) is not offered.
const (
	BodyUnstated BodyType = iota
	Body7Bit
	Body8BitMIME
)

// Ret is the RET= parameter of MAIL: what of the message a DSN shall return,
// RFC 3461 §4.3.
type Ret uint8

// The values of RET=.
const (
	RetUnstated Ret = iota
	RetFull
	RetHeaders
)

// Notify is the NOTIFY= parameter of RCPT: a set of conditions, RFC 3461
// §4.1. The zero value is "unstated", which means failures and perhaps
// delays.
type Notify uint8

// The conditions. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Recipient is one accepted forward-path with what its sender wants to hear
// of it.
type Recipient struct {
	To     message.Address
	Notify Notify
	Orcpt  string // ORCPT= as received: type ";" xtext; "" if unstated
}

// Envelope is one mail transaction: what MAIL and RCPT said, and the facts of
// the session it came by, which the shell of the machine fills in. It is
// written only by the machine and its shell; whoever gets it after the body
// has begun may keep it.
type Envelope struct {
	// Facts of the session.
	Session  string          // its id, for the log and the Received field
	RemoteIP netip.Addr      // of the client
	Port     uint16          // of the client; 0 if not known
	Helo     string          // what it called itself
	Protocol string          // the "with" of Received: ESMTPSA and the like (RFC 3848, RFC 6531 §4.3)
	TLS      string          // version and cipher suite, "" without TLS
	Account  uint64          // who has logged in; 0 is nobody
	User     message.Address // the account's address; zero if nobody has logged in
	// Headers are header fields that the edge puts in front of the message,
	// each with its CRLF; whoever takes the message in writes them after its
	// own trace fields.
	Headers string

	// MAIL and its parameters.
	From message.Address // the zero Address is the null reverse-path
	Size int64           // SIZE= in octets, 0 if unstated
	Body BodyType
	UTF8 bool // SMTPUTF8 was given
	// RequireTLS says that REQUIRETLS was given: the message may only be sent
	// on by TLS that was verified, to hosts that offer it too (RFC 8689).
	RequireTLS bool
	Auth       string // AUTH= as received, "" if unstated
	Ret        Ret
	EnvID      string // ENVID= as received (xtext), "" if unstated

	// RCPT: the accepted recipients, in order.
	Recipients []Recipient
}
