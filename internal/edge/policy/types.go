package policy

import (
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Level says how much is going on; see the table in the package doc.
type Level uint8

// The levels.
const (
	Calm Level = iota
	Busy
	Stormy
)

// String returns the level's name.
func (l Level) String() string {
	switch l {
	case Calm:
		return "calm"
	case Busy:
		return "busy"
	case Stormy:
		return "stormy"
	}
	return "?"
}

// Faults is what the lobby saw a guest do that no mail server does.
type Faults uint16

// The faults. BadHelo is for an argument of HELO that the dialogue's machine
// refused; one that it took is examined by Decide.
const (
	EarlyTalk   Faults = 1 << iota // talked before the banner
	Pipelined                      // did not wait for a reply where it must
	NotSMTP                        // a verb of another protocol, such as GET
	BareNewline                    // a line that ended without CR
	BadHelo                        // HELO with an argument that was refused
	LongLine                       // a line longer than any command
	ManyErrors                     // one command after the other was refused
)

// EntryKind is what becomes of a connection when it arrives.
type EntryKind uint8

// The kinds of Entry.
const (
	EntryWait   EntryKind = iota // a stranger: it waits in the lobby
	EntryAdmit                   // handed to a session at once
	EntryRefuse                  // Reply is said if there is one, then it is closed
)

// Entry is the answer to a connection's arrival.
type Entry struct {
	Kind  EntryKind
	Wait  time.Duration // EntryWait: until the banner
	Reply *smtp.Reply   // EntryRefuse: nil closes silently
	Why   string        // in words, for the log
	Known bool          // counts to the pool of those who passed before
}

// Guest is all that is known of a connection when it is judged. The zero value
// of a field means that it is not known yet.
type Guest struct {
	ID        string // of the session, the same in lobby and session
	Addr      netip.Addr
	Helo      string // argument of the last HELO or EHLO
	ESMTP     bool   // it was EHLO
	TLS       bool
	From      message.Address
	HasFrom   bool // MAIL was given; From may be the null reverse-path
	To        message.Address
	HasTo     bool
	Rcpts     int // RCPT commands so far, the one in question among them
	Arrived   time.Time
	Now       time.Time
	Faults    Faults
	Score     dnsbl.Score
	Scored    bool          // Score is complete
	Octets    int64         // both ways
	CPU       time.Duration // that it has cost
	Questions int           // asked of name servers for its sake
	Known     bool          // Entry.Known
	Refused   bool          // it has had a 5xx by a Verdict
	Ended     string        // for Left: one of the Ended constants
}

// How a guest's stay ended.
const (
	EndedQuit    = "quit"    // it said QUIT
	EndedLeft    = "left"    // it closed the connection
	EndedReset   = "reset"   // the connection broke
	EndedTimeout = "timeout" // it was silent, or stayed to the time limit
	EndedEvicted = "evicted" // its place was needed
	EndedClosed  = "closed"  // the dialogue's machine ended it
	EndedStopped = "stopped" // the server stops
)

// Kind is what a Verdict comes to.
type Kind uint8

// The kinds of Verdict.
const (
	Pass Kind = iota
	Refuse
	Defer
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Pass:
		return "pass"
	case Refuse:
		return "refuse"
	case Defer:
		return "defer"
	}
	return "?"
}

// Verdict is the answer to a guest's first recipient, or to its STARTTLS.
type Verdict struct {
	Kind     Kind
	Reply    *smtp.Reply // nil for Pass
	Score    int
	Headers  string // header fields for the message, each with its CRLF
	Evidence []Evidence
	By       string // the check that decided
}

// Evidence is what one check saw.
type Evidence struct {
	Check   string `json:"check"`
	Detail  string `json:"detail"`
	Weight  int    `json:"weight,omitempty"` // what it adds to the score
	Shadow  bool   `json:"shadow,omitempty"` // Weight was not added: the check only watches
	Decided bool   `json:"decided,omitempty"`
}
