// Package mailbox keeps mailboxes and messages: the tree of names, UIDs, MODSEQs,
// flags, keywords, subscriptions, quota usage, and the change feed that sessions
// live on.
//
// It is a view of the journal. It exists apart from the protocols so that all of
// them show the same mailbox, and apart from the journal so that the log need
// not know what a mailbox is.
//
// It stands between spool/intake and access/… above and store/journal and
// store/index below. Mail comes in through NewBody and Deliver (the accept seam:
// one record, one body, any number of recipients, durable on return) or Append;
// owners change things through SetFlags, Expunge, Copy, Move and the calls about
// names (the commit seam: one record, durable and applied on return). Readers
// open a Mailbox, whose hot list is a compact array in memory that Committed
// keeps right, and ask it for Entries and Changes.
//
// How a change happens. Whatever depends on the messages of a mailbox is looked
// at first, in its hot list, with the mailbox's other changes kept out
// (change.go); then a record with the facts is appended; the sequencer gives it
// UIDs and MODSEQs in the order of the log (sequencer.go); the index's writer
// applies it to the tables (apply_*.go); Committed publishes (committed.go).
//
// How space comes back. A body that no mailbox has stays for the retention, 14
// days. Compaction copies live messages out of segments that are mostly dead and
// drops all else, after State records have said what it amounted to
// (supersede.go, compact.go). Other views have facts in the same records: they
// hold bodies that no mailbox has, and say what they lose (other.go).
//
// Invariants. I1: Deliver returns when the journal says durable. I2: a message is
// in a mailbox once for each filing. I6: UIDs and MODSEQs only grow, UIDVALIDITY
// is never given twice, and a deleted index is rebuilt to the same; the applier
// refuses records that would break this, and they are set aside. I8: bytes that
// fail their checksum are not served, and damage in a record, message or mailbox
// stops no other.
//
// Concurrency. A Store and a Mailbox may be used from any goroutine. Lock order:
// Store.house, box.turn, cache.mu, Store.mu, box.mu; sequencer.mu, unfiled.mu and
// recent.mu come last. The applier belongs to the index's writer goroutine.
//
// Limits are in limits.go.
//
// RFCs: 9051 and 3501 §2.3 (UIDs, flags), §5.1 (names), §6.3, §6.4; 7162 §3
// (CONDSTORE, QRESYNC); 6154 (special use); 4315 (UIDPLUS); 6851 (MOVE); 3502
// (MULTIAPPEND).
package mailbox
