// Package fulltext answers quickly which messages cannot hold a string, so
// that SEARCH TEXT and BODY read few bodies instead of all.
//
// It exists apart because it is no view of the journal: it may be behind,
// empty, damaged or gone at any time and no answer changes by it, only the
// time that the answer takes. So nothing is written for it when mail is
// delivered, and nothing at all for people who never search in bodies.
//
// It stands beside the index, in a database of its own (fulltext.db).
// access/imap asks Candidates before it scans; what it then had to scan for
// lack of knowledge it hands to Want, and a worker reads those messages' text
// through Options.Text, as slowly as it must to be in nobody's way. The set of
// distinct trigrams (three folded characters) of each message goes into an
// FTS5 table that keeps which messages have which, and neither text nor
// places. decisions/0010 says why the trigrams are ours and not FTS5's.
//
// Invariants. Candidates gives every message that holds the needle, provided
// that Text gave every stretch in which the scan looks, folded or not, whole:
// what it leaves out was read to the end and lacks a trigram of the needle. A
// message is known as indexed only after the transaction that indexed it. Text
// and needle are folded by the same Fold, which the scan uses too. A file of
// another version or another store, one that knows later messages than there
// are, or one that SQLite finds damaged is moved away and begun anew. What
// SQLite does not find (its pages have no checksums) is not found here either;
// deleting the file is always safe.
//
// Concurrency. One goroutine, the worker, writes. All methods may be called
// from any goroutine; Candidates runs in parallel on connections of its own,
// and Want never blocks. Lock order: db, mu.
//
// Durability. WAL with synchronous NORMAL: after a power cut the last batches
// may be missing, which costs their work and no more. OFF could lose a page of
// postings and keep the note that its messages are indexed.
//
// Limits (limits.go): 1 MiB of text a message, a longer one is passed over and
// always a candidate; 131,072 messages wanted; 16 trigrams asked of a needle;
// needles under three characters are not narrowed; three quarters of the
// worker's time is rest; no filling with less than 1 GiB free on the disk.
package fulltext
