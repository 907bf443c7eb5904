// Package sys is the doors to the world: files, the clock and randomness.
//
// Everything above that touches a disk or asks for the time does it through
// the interfaces FS, File and Clock, so that package sim can put a disk that
// crashes, tears, fills and lies, and a clock that is stepped by hand, in
// their place. That is the only reason it exists apart: the doors are the
// one kind of interface here with a single real implementation. With them come
// the two ways to replace a file whole and durably: WriteFile, and Snapshot
// for what a part of the host remembers beside the journal.
//
// It stands below everything; the journal is its main caller. It knows
// nothing of mail.
//
// Invariants. A File's WriteVAt writes all bytes or returns an error. Sync is
// fdatasync: data and what is needed to find it again, with a real cache
// flush (F_FULLFSYNC where that is the name of it). SyncDir makes creations,
// renames and removals in a folder durable; nothing else does. No door
// retries a failed sync. Errors are the operating system's, wrapped, so that
// errors.Is finds fs.ErrNotExist and IsFull finds a full disk.
//
// Concurrency: FS, Clock and the ReadAt, WriteAt, WriteVAt and Sync of one
// File may be used from many goroutines at once. Truncate and Close may not
// run beside other calls on the same File.
//
// Limits: one pwritev takes at most 1,024 buffers (IOV_MAX); longer vectors
// are written in several calls. Direct reads go through aligned buffers of at
// most 1 MiB.
package sys
