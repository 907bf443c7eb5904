package smtp

import "time"

// stage is where in the dialogue the machine is.
type stage uint8

const (
	stageNew     stage = iota // before the banner
	stageCommand              // a command is awaited
	stageData                 // the body of DATA arrives
	stageChunk                // the octets of a BDAT chunk arrive
	stageAuth                 // a response of an AUTH exchange is awaited
	stageClosed               // nothing more is read
	stageCount
)

// flags of a dialogue.
type flags uint16

const (
	flagESMTP   flags = 1 << iota // EHLO, not HELO
	flagTLS                       // under TLS
	flagAuthed                    // logged in
	flagSkip                      // the rest of a command line is thrown away
	flagSkipCR                    // … and its last octet so far was CR
	flagOwe                       // … and 500 is due at its end
	flagBody                      // the shell has an open body
	flagChunked                   // the transaction's body comes by BDAT
	flagLast                      // the chunk is the last
	flagLeaving                   // end the session as soon as no body is under way
	flagEarly                     // the client did not wait where it must
	flagInitial                   // the AUTH question is the first and has a response
	flagStart                     // the AUTH question is the first
	flagsAll    = 1<<iota - 1
)

// Dialogue is the state of one conversation, as small as it can be: a fixed
// struct, plus memory for what a transaction has gathered and for a command
// line of which only a part has arrived. The zero value is a new one. Only
// [Machine.Step] changes it. It may be copied between two steps, if only one
// copy goes on; AppendBinary makes bytes of it.
type Dialogue struct {
	env     *Envelope // the transaction; nil outside one
	refusal *Reply    // the body was refused by the shell; told at its end
	helo    string
	line    []byte // part of a command line; or the SASL response in question
	due     int64  // when EventTimeout is due, Unix nanoseconds; 0 is never
	begun   int64  // when the body began
	size    int64  // octets of the body so far
	chunk   int64  // octets of the chunk yet to come
	lineLen uint32 // octets of the body's line so far

	flags   flags
	last    uint16 // code of the last reply
	surplus uint16 // recipients that were too many for their transactions
	stage   stage
	pending ActionKind // the question that the shell has not answered yet
	scan    scanState
	fault   fault
	mech    uint8 // index of the mechanism of the AUTH question
	wrong   uint8 // commands that were wrong
	refused uint8 // recipients that were refused
	idle    uint8 // commands since the last transaction moved forward
	failed  uint8 // logins that failed
}

// Due returns when [EventTimeout] is due, the zero Time for never: while the
// shell owes an answer the machine waits for it.
func (d *Dialogue) Due() time.Time {
	if d.due == 0 {
		return time.Time{}
	}
	return time.Unix(0, d.due)
}

// Helo returns the last HELO or EHLO argument, "" before.
func (d *Dialogue) Helo() string { return d.helo }

// ESMTP reports whether the client greeted with EHLO.
func (d *Dialogue) ESMTP() bool { return d.flags&flagESMTP != 0 }

// TLS reports whether the machine was told that TLS is on.
func (d *Dialogue) TLS() bool { return d.flags&flagTLS != 0 }

// Authenticated reports whether a login has succeeded.
func (d *Dialogue) Authenticated() bool { return d.flags&flagAuthed != 0 }

// Early reports whether the client has ever sent on where RFC 2920 §3.1 bids
// it wait for a reply. It depends on how the octets arrived, so it is a hint.
func (d *Dialogue) Early() bool { return d.flags&flagEarly != 0 }

// Idle reports whether the dialogue is between commands and without a
// transaction: a good moment to end it.
func (d *Dialogue) Idle() bool {
	return d.stage == stageCommand && d.pending == ActionRead && d.env == nil && len(d.line) == 0
}

// InBody reports whether a body is under way.
func (d *Dialogue) InBody() bool {
	return d.flags&flagBody != 0 || d.stage == stageData || d.stage == stageChunk
}

// Closed reports whether the dialogue is over.
func (d *Dialogue) Closed() bool { return d.stage == stageClosed }

// LastCode returns the code of the last reply, 0 before the banner.
func (d *Dialogue) LastCode() int { return int(d.last) }

// Size returns how many octets of the current body have come.
func (d *Dialogue) Size() int64 { return d.size }

// Fault says what is wrong with the body that was refused last, "" if
// nothing is.
func (d *Dialogue) Fault() string {
	return [faultCount]string{"", "bare CR or LF", "NUL", "line too long", "message too big"}[d.fault]
}

// Envelope returns the transaction, nil outside one. The shell may fill in
// the facts of the session. While [ActionRecipient] is unanswered its last
// recipient is the one in question.
func (d *Dialogue) Envelope() *Envelope { return d.env }
