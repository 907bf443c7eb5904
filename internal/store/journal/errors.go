package journal

import (
	"errors"
	"fmt"
)

var (
	// ErrFull: no room on the disk or in the quota. Nothing was written,
	// the journal goes on, the same Append may succeed later.
	ErrFull = errors.New("journal: no room")
	// ErrFailed: a write, fdatasync or folder fsync failed. Nothing is
	// accepted any more until the process has started again.
	ErrFailed = errors.New("journal: failed")
	// ErrClosed: Close was called, or Start was not.
	ErrClosed = errors.New("journal: not open for appending")
	// ErrTooLarge: an envelope or inline body exceeds its limit.
	ErrTooLarge = errors.New("journal: record too large")
	// ErrGone: the segment was removed by compaction since the position
	// was looked up. Look it up again.
	ErrGone = errors.New("journal: segment is gone")
	// ErrMalformed: bytes that are no sequence of fields.
	ErrMalformed = errors.New("journal: malformed fields")
	// ErrUnsupported: the record was written by a newer version
	// (compressed or encrypted).
	ErrUnsupported = errors.New("journal: record needs a newer version")
)

// DamageError says that stored bytes failed their checksum. The record is set
// aside; nothing else is concerned.
type DamageError struct {
	LSN     LSN // 0 where it cannot be known
	Segment SegmentID
	Offset  int64 // of the bad bytes in the segment
	What    string
	Err     error // of reading, nil if the bytes were read and are wrong
}

// Unwrap gives the error of reading, if there was one.
func (e *DamageError) Unwrap() error { return e.Err }

func (e *DamageError) Error() string {
	return fmt.Sprintf("journal: segment %s is damaged at %d (lsn %s): %s", e.Segment, e.Offset, e.LSN, e.What)
}
