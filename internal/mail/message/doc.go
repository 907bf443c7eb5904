// Package message is the vocabulary of mail (Domain, Address, Message, Part,
// Envelope) and the tolerant parser that turns any bytes into a tree of MIME
// parts with byte offsets.
//
// It stands apart because everything else needs the words and nothing else may
// differ about them: what the SMTP session calls an address, the index keeps
// of a message and IMAP shows of it are the same values. It does no I/O and
// knows no time.
//
// A body passes through a Parser while it streams into the journal (before:
// spool/intake, access/imap APPEND; after: store/journal). The Message that
// Close gives goes to the index in its binary form (AppendBinary), from where
// store/mailbox hands it to IMAP, which answers ENVELOPE, BODYSTRUCTURE and
// every section number from it without a look at the body. Decode, Text,
// DecodeHeader and Fields read bytes of the body again when a client or a
// search asks for them. `breakwater diagnose mime|address` prints MIMEReport
// and AddressReport.
//
// Invariants:
//   - Any bytes give a tree; nothing is refused, nothing is lost from it. What
//     is wrong is a Defect, and what goes beyond a limit is an opaque leaf.
//   - The tree does not depend on how the bytes were cut into Writes.
//   - Offsets nest: a part lies in its parent's body, parts do not overlap.
//   - A multipart has a child, an embedded message has exactly one, and a leaf
//     has none, so that BODYSTRUCTURE can always be written.
//   - No string of the tree holds CR, LF or NUL; no decoded text holds any
//     control character but TAB.
//   - Work is linear in the bytes: boundaries of all open multiparts are in one
//     hash table, so that a line costs the same at any depth.
//   - DecodeMessage checks all of this again, and what it once read it reads
//     forever (version byte, golden test).
//
// What counts as what: LF ends a line, with or without CR before it; a bare CR
// is data. A header ends at an empty line. Lines in it that are no fields are
// passed over, but if no field follows them the body begins there. A delimiter
// ends a header too. The first field of a name counts, but for To, Cc and Bcc.
// MIME-Version is not asked for. The innermost of two multiparts with one
// boundary takes the delimiter. What follows a closing delimiter is epilogue.
//
// Concurrency: a Parser and the readers that Decode and Text give are for one
// goroutine; everything else is immutable once returned.
//
// Limits: Limits (depth 100, 10,000 parts, 1 MB of headers), 10,000 addresses
// and 200 parameters of a field, boundaries of 8,000 bytes. A parser holds one
// header field and at most 8 KB of a line besides the tree.
//
// RFCs: 5321 §4.1.2, §4.1.3 and 6531 §3.3 (addresses), 5890 (domains), 5322
// with §4 (headers, dates), 2045 and 2046 (MIME), 2047 and 2231 (encoded words
// and parameters), 2183 (disposition), 3282 (languages), 6532 (UTF-8 headers),
// 2152 (UTF-7), 9051 §7.5.2 (ENVELOPE, BODYSTRUCTURE).
package message
