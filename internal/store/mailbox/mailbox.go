package mailbox

import (
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// ID names a mailbox for ever: it is never given to another, and survives a
// rename.
type ID uint64

// UID is a message's number in its mailbox (RFC 9051 §2.3.1.1).
type UID uint32

// ModSeq is a mailbox's modification sequence (RFC 7162 §3.1); at most 2^63-1.
type ModSeq uint64

// Flags are the flags of a message: the system flags below, and one bit for
// each keyword of its mailbox from bit 5 on.
type Flags uint64

// The system flags (RFC 9051 §2.3.2).
const (
	FlagAnswered Flags = 1 << iota
	FlagFlagged
	FlagDeleted
	FlagSeen
	FlagDraft
)

// Info describes one name in an account's hierarchy.
type Info struct {
	ID          ID // 0 if there is no such mailbox, only a subscription
	Account     account.ID
	Name        string // UTF-8, levels separated by "/"; "INBOX" in capitals
	SpecialUse  string // RFC 6154 attribute such as "\\Sent", or ""
	Subscribed  bool
	Exists      bool // false: the name is only subscribed
	UIDValidity uint32
}

// Status is what STATUS says of a mailbox.
type Status struct {
	Messages      uint32
	Unseen        uint32
	Deleted       uint32
	Size          int64 // octets of all messages
	UIDNext       UID
	UIDValidity   uint32
	HighestModSeq ModSeq
}

// Entry is one message in a mailbox: what a hot list holds of it.
type Entry struct {
	UID     UID
	Size    uint32 // octets, prefix included
	ModSeq  ModSeq
	Flags   Flags
	Message journal.LSN // what OpenMessage takes
	Date    int64       // INTERNALDATE, Unix seconds
}

// Changes are what happened in a mailbox after a MODSEQ.
type Changes struct {
	Changed  []Entry // new or with other flags, in UID order
	Vanished []UID   // may name UIDs that vanished earlier (RFC 7162 §3.2.6), ascending
	ModSeq   ModSeq  // the mailbox's highest now
	UIDNext  UID
	Keywords bool // the mailbox has got a new keyword since it was opened or last asked
}

// Delivery is one accepted message and where it goes.
type Delivery struct {
	ID       string          // of the envelope
	From     message.Address // reverse-path
	Received time.Time
	Filings  []Filing
	// Also are facts of other views that go into the same record, as one or
	// more fields with tags of theirs. With them there may be no filings.
	Also []byte
}

// Filing is one recipient's copy.
type Filing struct {
	Account account.ID
	Mailbox ID
	Rcpt    message.Address
	Flags   []string
	UID     UID // set by Deliver
}

// AppendMessage is one message of an APPEND.
type AppendMessage struct {
	Body  *Body
	Flags []string
	Date  time.Time // INTERNALDATE; zero means now
}

// Mode says what SetFlags does with its flags.
type Mode uint8

// What STORE does: FLAGS, +FLAGS and -FLAGS.
const (
	Replace Mode = iota
	Add
	Remove
)

// SetFlags asks for a change of flags.
type SetFlags struct {
	UIDs           []UID // ascending; those that do not exist are passed over
	Mode           Mode
	Flags          []string
	UnchangedSince *ModSeq // RFC 7162 §3.1.3
}

// FlagsResult is what a change of flags came to.
type FlagsResult struct {
	Modified []UID  // not changed, since they were changed after UnchangedSince
	ModSeq   ModSeq // the mailbox's highest after the change
	Written  bool   // something was changed, and has this ModSeq
}

// CopyResult says which UIDs were copied or moved to which.
type CopyResult struct {
	UIDValidity uint32 // of the destination
	Src, Dst    []UID
}

// What callers branch on.
var (
	ErrNoSuchMailbox  = errors.New("no such mailbox")
	ErrNoSuchMessage  = errors.New("no such message")
	ErrExists         = errors.New("mailbox already exists")
	ErrName           = errors.New("mailbox name is not allowed")
	ErrInboxForever   = errors.New("INBOX cannot be deleted")
	ErrLimit          = errors.New("limit reached")
	ErrFlag           = errors.New("flag is not allowed")
	ErrSpecialUse     = errors.New("special use is not known or taken")
	ErrBodyUnfinished = errors.New("body is closed or of another store")
)
