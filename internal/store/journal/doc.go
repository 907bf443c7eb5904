// Package journal is the log: every accepted message and every change, in one
// order, in files that only grow. Append returns when the record is durable.
//
// It exists apart because it is the truth, and everything else in the store is
// a view of it that can be made again: whoever wants to know what a 250 is
// worth reads this package and nothing else. It knows no mailbox, no account
// and no SQL; envelopes are bytes to it.
//
// It stands between spool/intake and the views' changes, who append, and
// store/index, which is told of each durable record in LSN order and replays
// what it has missed. Bodies are read from here and are stored nowhere else.
//
// The format is drawn in docs/formats/journal.md. A segment is a header block
// and records; a record is a header of 68 bytes, an envelope of TLV fields, a
// body, and checksums of its 64 KB chunks if it is long. Bodies over InlineMax
// go to a large segment of their own while they arrive.
//
// Invariants. Append returns nil only after fdatasync has covered the record
// and the names of all files concerned are durable. An LSN and a segment id
// are never given twice: both begin with an epoch that is raised durably at
// every start. A file has its final name only once it is whole. No byte of a
// body is given to a reader unverified. Damage costs the record that it is in
// and no other. After a failed write, fdatasync or folder sync nothing is
// accepted any more; want of room is not such a failure: the group is taken
// back, durably, and ErrFull given. What recovery cuts was never acknowledged:
// a bad record with something durable behind it is damage and stays.
//
// Concurrency. One goroutine writes the log: it takes what is queued, stamps
// it in LSN order, writes it with one call, syncs once, tells, and answers.
// Where the last group had company it gives that a moment (GroupWait) to come
// again; a lone caller never waits. Checksums are made before queueing, in the
// callers' goroutines, from bytes that nobody may change any more. Readers hold
// reference-counted files and never wait for the writer. Lock order:
// compacting, layout, mu; verdict, then the queue's lock.
//
// Limits: InlineMax (1 MiB) in memory per message, 256 KB per large body that
// arrives, a group of 16 MiB that waits 2 ms, segments of 256 MiB, envelopes of
// EnvelopeMax, large bodies of LargeMax, 256 sources per compaction, 128 idle
// open files, eight saved torn tails of 32 MiB at most.
package journal
