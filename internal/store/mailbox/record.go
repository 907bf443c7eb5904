package mailbox

import (
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Tags of Message envelopes: facts of one accepted message. Frozen.
const (
	tagEnvelopeID = 0x01 // text
	tagFrom       = 0x02 // reverse-path, text; "" is the null one
	tagReceived   = 0x03 // Unix time in microseconds
	tagPrefix     = 0x04 // length of the headers that we put before the message
	tagFiling     = 0x05 // nested, once a mailbox
)

// Tags of operations in Batch envelopes. Frozen.
const (
	tagCreate    = 0x200
	tagRename    = 0x201
	tagDelete    = 0x202
	tagSubscribe = 0x203
	tagFlags     = 0x204
	tagExpunge   = 0x205
	tagFile      = 0x206
)

// Tags of State envelopes. Frozen.
const (
	tagStateMailbox    = 0x280
	tagStateEntries    = 0x281
	tagStateSubscribed = 0x282
	tagStateFloors     = 0x283
)

// tagFirst and tagLast bound the range of operations that are this package's.
const (
	tagFirst = 0x200
	tagLast  = 0x2ff
	// tagOthers: below it are the facts of Message records, which are all
	// this package's.
	tagOthers = 0x100
)

// Fields inside operations and filings. One name, one number, in all of them.
// Frozen.
const (
	fieldAccount     = 0x01
	fieldMailbox     = 0x02
	fieldUID         = 0x03
	fieldModSeq      = 0x04
	fieldFlags       = 0x05
	fieldRcpt        = 0x06
	fieldKeyword     = 0x07 // bit number as one byte, then the name
	fieldName        = 0x08
	fieldUse         = 0x09
	fieldUIDValidity = 0x0a
	fieldUIDs        = 0x0b // packed ranges
	fieldClear       = 0x0c
	fieldSet         = 0x0d
	fieldAt          = 0x0e // Unix seconds
	fieldEntries     = 0x0f // packed entries
	fieldUIDNext     = 0x10
	fieldState       = 0x11 // of a mailbox: 1 there, 2 gone
	fieldNextID      = 0x12
)

// keyword gives a bit of a mailbox's flags its name.
type keyword struct {
	bit  uint8
	name string
}

// messageFacts is what a Message record says.
type messageFacts struct {
	id       string
	from     string
	received int64 // Unix microseconds
	prefix   int64
	filings  []filingFact
	also     []byte // facts of other views, when it is written
}

// seconds is when the message came in, in Unix seconds: its INTERNALDATE.
func (m *messageFacts) seconds() int64 { return time.UnixMicro(m.received).Unix() }

// filingFact is one copy of a message in one mailbox.
type filingFact struct {
	account  account.ID
	mailbox  ID
	uid      UID
	modSeq   ModSeq
	flags    Flags
	rcpt     string
	keywords []keyword
}

// createOp makes a mailbox.
type createOp struct {
	account     account.ID
	mailbox     ID
	name, use   string
	uidValidity uint32
}

// renameOp gives a mailbox another name.
type renameOp struct {
	mailbox ID
	name    string
}

// deleteOp removes a mailbox and its messages.
type deleteOp struct {
	mailbox ID
	at      int64
}

// subscribeOp is a subscription, or its end.
type subscribeOp struct {
	account account.ID
	name    string
	on      bool
}

// flagsOp changes flags: new = old &^ clear | set.
type flagsOp struct {
	mailbox    ID
	modSeq     ModSeq
	uids       uidSet
	clear, set Flags
	keywords   []keyword
}

// expungeOp removes messages.
type expungeOp struct {
	mailbox ID
	modSeq  ModSeq
	uids    uidSet
	at      int64
}

// fileOp puts messages of other records into a mailbox: an APPEND, a COPY or
// one half of a MOVE.
type fileOp struct {
	account  account.ID
	mailbox  ID
	modSeq   ModSeq
	keywords []keyword
	entries  []Entry // their ModSeq is modSeq
}

// mailboxState is a mailbox as of the record's LSN.
type mailboxState struct {
	account     account.ID
	mailbox     ID
	gone        bool
	at          int64 // when it was known to be gone
	name, use   string
	uidValidity uint32
	uidNext     UID
	modSeq      ModSeq
	keywords    []keyword // all of them
}

// entriesState is some of a mailbox's messages as of the record's LSN: those in
// gone are not there, the entries are.
type entriesState struct {
	account account.ID
	mailbox ID
	gone    uidSet
	at      int64 // when the gone were known to be gone
	entries []Entry
}

// subscribeState is a subscribeOp as of the record's LSN; it is read as one.
type subscribeState struct{ subscribeOp }

// floorsState holds numbers that are never given again.
type floorsState struct {
	nextID      ID
	uidValidity uint32
}

// appendKeywords appends one field for each keyword.
func appendKeywords(dst []byte, ks []keyword) []byte {
	for _, k := range ks {
		dst = journal.AppendField(dst, fieldKeyword, append([]byte{k.bit}, k.name...))
	}
	return dst
}

// appendUint leaves zero out: an absent number is zero.
func appendUint[T ~uint8 | ~uint32 | ~uint64 | ~int64](dst []byte, field uint64, v T) []byte {
	if v == 0 {
		return dst
	}
	return journal.AppendUint(dst, field, uint64(v))
}

// appendText leaves the empty text out.
func appendText(dst []byte, field uint64, s string) []byte {
	if s == "" {
		return dst
	}
	return journal.AppendString(dst, field, s)
}

// append appends the envelope of a Message record.
func (m *messageFacts) append(dst []byte) []byte {
	dst = appendText(dst, tagEnvelopeID, m.id)
	dst = appendText(dst, tagFrom, m.from)
	dst = appendUint(dst, tagReceived, m.received)
	dst = appendUint(dst, tagPrefix, m.prefix)
	var scratch [128]byte
	for i := range m.filings {
		f := &m.filings[i]
		b := appendUint(scratch[:0], fieldAccount, f.account)
		b = appendUint(b, fieldMailbox, f.mailbox)
		b = appendUint(b, fieldUID, f.uid)
		b = appendUint(b, fieldModSeq, f.modSeq)
		b = appendUint(b, fieldFlags, f.flags)
		b = appendText(b, fieldRcpt, f.rcpt)
		b = appendKeywords(b, f.keywords)
		dst = journal.AppendField(dst, tagFiling, b)
	}
	return append(dst, m.also...)
}

// appendOp appends one operation of a Batch or State envelope.
func appendOp(dst []byte, op any) []byte {
	var b []byte
	var tag uint64
	switch o := op.(type) {
	case *createOp:
		tag = tagCreate
		b = appendUint(b, fieldAccount, o.account)
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = appendText(b, fieldName, o.name)
		b = appendText(b, fieldUse, o.use)
		b = appendUint(b, fieldUIDValidity, o.uidValidity)
	case *renameOp:
		tag = tagRename
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = appendText(b, fieldName, o.name)
	case *deleteOp:
		tag = tagDelete
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = appendUint(b, fieldAt, o.at)
	case *subscribeOp:
		tag = tagSubscribe
		b = appendSubscription(b, o)
	case *flagsOp:
		tag = tagFlags
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = appendUint(b, fieldModSeq, o.modSeq)
		b = journal.AppendField(b, fieldUIDs, o.uids.pack(nil))
		b = appendUint(b, fieldClear, o.clear)
		b = appendUint(b, fieldSet, o.set)
		b = appendKeywords(b, o.keywords)
	case *expungeOp:
		tag = tagExpunge
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = appendUint(b, fieldModSeq, o.modSeq)
		b = journal.AppendField(b, fieldUIDs, o.uids.pack(nil))
		b = appendUint(b, fieldAt, o.at)
	case *fileOp:
		tag = tagFile
		b = appendUint(b, fieldAccount, o.account)
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = appendUint(b, fieldModSeq, o.modSeq)
		b = appendKeywords(b, o.keywords)
		b = journal.AppendField(b, fieldEntries, packEntries(nil, o.entries, false))
	default:
		tag, b = appendState(op)
	}
	return journal.AppendField(dst, tag, b)
}

// appendState encodes the parts of State envelopes.
func appendState(op any) (tag uint64, b []byte) {
	switch o := op.(type) {
	case *mailboxState:
		b = appendUint(b, fieldAccount, o.account)
		b = appendUint(b, fieldMailbox, o.mailbox)
		if o.gone {
			b = appendUint(b, fieldAt, o.at)
			return tagStateMailbox, journal.AppendUint(b, fieldState, 2)
		}
		b = journal.AppendUint(b, fieldState, 1)
		b = appendText(b, fieldName, o.name)
		b = appendText(b, fieldUse, o.use)
		b = appendUint(b, fieldUIDValidity, o.uidValidity)
		b = appendUint(b, fieldUIDNext, o.uidNext)
		b = appendUint(b, fieldModSeq, o.modSeq)
		return tagStateMailbox, appendKeywords(b, o.keywords)
	case *entriesState:
		b = appendUint(b, fieldAccount, o.account)
		b = appendUint(b, fieldMailbox, o.mailbox)
		b = journal.AppendField(b, fieldUIDs, o.gone.pack(nil))
		b = appendUint(b, fieldAt, o.at)
		return tagStateEntries, journal.AppendField(b, fieldEntries, packEntries(nil, o.entries, true))
	case *subscribeState:
		return tagStateSubscribed, appendSubscription(b, &o.subscribeOp)
	case *floorsState:
		b = appendUint(b, fieldNextID, o.nextID)
		return tagStateFloors, appendUint(b, fieldUIDValidity, o.uidValidity)
	}
	panic(fmt.Sprintf("mailbox: no encoding for %T", op))
}

func appendSubscription(b []byte, o *subscribeOp) []byte {
	b = appendUint(b, fieldAccount, o.account)
	b = appendText(b, fieldName, o.name)
	if o.on {
		return journal.AppendUint(b, fieldSet, 1)
	}
	return journal.AppendUint(b, fieldClear, 1)
}
