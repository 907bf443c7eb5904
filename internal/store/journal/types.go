package journal

import (
	"fmt"
	"time"
)

// LSN is the log sequence number of a record: the start epoch in the high 24
// bits, a counter in the low 40. The epoch is raised durably before the first
// append of every run, so an LSN is never given twice, not even after a torn
// tail was cut. LSNs order the log; inside an epoch they have no gaps.
type LSN uint64

// counterBits is the width of an LSN's counter.
const counterBits = 40

// Epoch gives the start epoch.
func (l LSN) Epoch() uint32 { return uint32(l >> counterBits) }

// String is "epoch.counter".
func (l LSN) String() string { return fmt.Sprintf("%d.%d", l.Epoch(), uint64(l)&(1<<counterBits-1)) }

// SegmentID names a segment: the epoch in which it was made in the high 24
// bits, a counter in the low 40. It is never used twice.
type SegmentID uint64

// String is the file's name without the "s": sixteen hexadecimal digits.
func (s SegmentID) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// Type tells what a record is. A moved copy made by compaction keeps the type
// of its original.
type Type uint8

// The types of records. Seal and LargeBody are the journal's own and are never
// given to Append or by Replay.
const (
	TypeMessage   Type = 1 // a message that was accepted, with its body
	TypeBatch     Type = 2 // changes: flags, expunges, mailboxes, accounts
	TypeState     Type = 3 // the full state of something as of Entry.AsOf
	TypeTombstone Type = 4 // takes back what an older record said
	TypeSeal      Type = 5 // the last record of a segment that was closed in order
	TypeLargeBody Type = 6 // the one record of a large segment
)

// Position is where one record lies. Length is that of the whole record.
type Position struct {
	Segment SegmentID
	Offset  int64
	Length  int64
}

// Entry is what Append makes a record of.
type Entry struct {
	Type Type
	// Envelope is the record's TLV part, if there is no Stamp.
	Envelope []byte
	// Stamp, if set, gives the envelope once the LSN is known. The log's
	// one goroutine calls it in LSN order, so it is where UIDs and
	// MODSEQs are given. An error refuses this entry only: Append
	// returns it and the LSN goes to the next entry. The bytes may not
	// change afterwards. Stamp may be called again after Undo.
	Stamp func(LSN) ([]byte, error)
	// Undo takes back what Stamp did. It is called, last stamped first,
	// when the group could not be written for want of room and the log
	// goes on. It is not called when the journal fails for good.
	Undo func()
	// Body is the inline body, in pieces. Nobody may change the bytes
	// until Append has returned. At most InlineMax in all, see there.
	Body [][]byte
	// Large is a sealed large body that follows Body in the message's
	// byte order; nil if there is none.
	Large *Large
	// AsOf is for State records: the last LSN that the state includes.
	// Replay gives the record after the one with that LSN.
	AsOf LSN
	// Hint goes to onDurable as it is and is never written.
	Hint any
}

// Record is one record of the log, without its body.
type Record struct {
	LSN  LSN
	Type Type
	Pos  Position
	// AsOf is where Replay gives the record: after everything up to that
	// LSN. It is Entry.AsOf for State records and the LSN of all others.
	// A view that replays has seen everything up to AsOf, not up to LSN.
	AsOf     LSN
	Envelope []byte
	Hint     any
	// BodySize is the length of the whole body, inline and large.
	BodySize int64
	// Large is the segment of the large part of the body, 0 if none.
	Large SegmentID
}

// Moved tells that compaction copied a record.
type Moved struct {
	LSN      LSN
	From, To Position
}

// Kind is the kind of a segment.
type Kind uint8

// The kinds of segments.
const (
	KindLog       Kind = 1 // written by Append
	KindCompacted Kind = 2 // moved copies
	KindLarge     Kind = 3 // one large body
)

func (k Kind) String() string {
	switch k {
	case KindLog:
		return "log"
	case KindCompacted:
		return "compacted"
	case KindLarge:
		return "large"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// SegmentInfo is what the policy of compaction wants to know of a segment.
type SegmentInfo struct {
	ID      SegmentID
	Kind    Kind
	Size    int64 // bytes of the file
	Created time.Time
	// First is the LSN of the first record (of a log segment also when it
	// is still empty), Last that of the last one where it is known.
	First, Last LSN
	// Active: Append writes here. Such a segment is not compacted.
	Active bool
	// Sealed: closed in order; anything bad in it is media damage.
	Sealed bool
	// Damaged: something in it failed its checksum in this run. Such a
	// segment is quarantined: read, but never compacted away.
	Damaged bool
	// Sources are segments that were copied into this one and are still
	// there, because a compaction did not come to its end.
	Sources []SegmentID
}

// Finding is something wrong that Verify found.
type Finding struct {
	Segment SegmentID
	Offset  int64
	// Length is how many bytes are set aside, as far as it is known.
	Length int64
	// LSN of the record, 0 where its header cannot be believed.
	LSN LSN
	// What is wrong, in words.
	What string
}

// Recovery tells what Open found and did.
type Recovery struct {
	Clean   bool      // the last run ended in order
	Segment SegmentID // the last log segment
	Kept    int       // whole records past the last durable LSN that was known
	Copied  bool      // these were copied to a new segment
	CutAt   int64     // where the torn tail began
	Cut     int64     // its bytes
	SavedIn string    // file with these bytes, "" if they were not saved
	Took    time.Duration
}

// StoreID is the UUID of a store. It is made at the first start and stands in
// every segment.
type StoreID [16]byte

// String is the usual form of a UUID.
func (s StoreID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}
