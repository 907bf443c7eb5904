// Package index keeps the SQLite index: what the journal says, in a form that
// can be asked questions.
//
// The journal is the truth and the index is derived from it, so that losing the
// index loses no mail and a commit costs one shared fdatasync instead of two.
// The package exists apart from the views because both of them (account,
// mailbox) need the same careful writer: it knows tables of its own only for the
// applied LSN and for records that were set aside.
//
// It stands between the journal and the views. A part appends through Accept
// (durable) or Commit (durable and applied); the journal hands every durable
// record to the writer goroutine, in LSN order; the writer lets each view apply
// it and stores the LSN of the last one in the same transaction; readers come
// in through Read, which waits until all that was durable when they asked has
// been applied.
//
// Invariants. The tables always show exactly the records up to the applied LSN,
// each applied once (I6: a deleted index.db is rebuilt to the same). A record
// that a view cannot apply is set aside with its reason and stops no other (I8).
// A file of another version, of another journal, damaged, or ahead of the
// journal is moved away and rebuilt.
//
// Concurrency. One goroutine writes. Reads run in parallel on connections of
// their own and see one snapshot each. All methods of Index may be called from
// any goroutine. The views' Apply, Flush, Rollback and Committed are called by
// the writer goroutine only, or by Open before it returns.
//
// Durability. WAL with synchronous NORMAL: after a power cut the last
// transactions may be gone, and are replayed from the journal. Update with full
// set is on disk when it returns; compaction needs that before it unlinks.
//
// Limits. Up to 5,000 records or 200 ms a transaction; a record nobody waits
// for may wait 20 ms for company; 50,000 durable records may be waiting before
// the journal is held back; eight reading connections; see limits.go.
package index
