// Package fate keeps what became of every accepted recipient: the facts of each
// message that was given a 250, and the standing of each recipient until it has
// ended, and for as long as the books are kept.
//
// It is a view of the journal. It exists apart from spool/queue so that what is
// true of a message is in one place, under one lock, on one disk, and the queue
// is only what is being done about it; and apart from store/mailbox since mail
// for others lies in nobody's mailbox.
//
// It stands between spool/intake, spool/queue and ops/ledger above and
// store/journal and store/index below. A message comes in through
// mailbox.Delivery.Also: AppendAccepted makes the facts that go into the very
// record of the message, so that a 250 and its consequences are one fdatasync.
// What happens later comes through Commit, or through AppendChange in the
// record of the DSN that tells of it. The queue reads Open once and is then told
// by OnUpdate; Owed are reports of success that are still to be made; Load gives an attempt what it must know; Sums and Trace are the
// books.
//
// Tables. Facts never change and are one row; recipients have rows of their own
// only if they began open. Which messages a name occurs in is kept in blocks
// (names.go), since an index would cost more than all else. Days have running
// sums (tally.go), so that books close quickly; Recount proves them.
//
// Space. When a compaction drops records, State records say what has become of
// the messages that these were about (compact.go). Books are dropped by a record
// that says up to which LSN (purge.go), so that a rebuilt index does not have
// them again.
//
// Invariants. I2: each accepted recipient is open or has ended, at any moment,
// and Sums names the messages of which that is not so. I3: what has ended never
// changes again; a change that says otherwise is passed over, so that it does
// not matter who comes second. I6: a deleted index is rebuilt to the same
// tables. I8: facts that cannot be read stop no filing of the same message, and
// no other message.
//
// Concurrency. A Store may be used from any goroutine. The applier belongs to
// the index's writer goroutine; mu guards the calls of Open that are under way.
//
// Limits are in limits.go.
//
// RFCs: 5321 §6.1 (responsibility after the 250), 3461 §4 and §5 (what a sender
// wants to hear), 8689 (REQUIRETLS).
package fate
