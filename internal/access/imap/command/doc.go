// Package command turns the bytes of one IMAP command into a typed value, and
// back.
//
// It exists apart from the server so that the grammar is pure: no connection,
// no session, no store, no clock. What a command may do in which state, and
// what its names and numbers mean, is the server's affair; here it only has
// to be well formed. That makes the grammar fuzzable and lets a property test
// hold that what is printed is read back to the same value.
//
// In the flow it comes after access/imap/wire, on which it stands, and before
// access/imap, which executes the values. A whole command with its literals
// in place goes to [Parse]. APPEND is different: its messages are streamed, so
// its text comes in pieces, [ParseAppend] before the first message and
// [ParseAppendNext] after each.
//
// Invariants: a value that Parse returns is well formed and within the limits
// below; names of mailboxes are the bytes that the client sent (modified UTF-7
// or UTF-8, which only the session knows); names of commands, items and keys
// are taken in any case of letters.
//
// Concurrency: values are plain data and are not changed after Parse.
//
// Limits: the caller bounds the command's length. SEARCH keys nest
// [SearchDepthMax] deep and number [SearchKeysMax]; a FETCH names at most
// [FetchItemsMax] items with [HeaderFieldsMax] fields each; a section is at
// most [SectionDepthMax] numbers long; an ID has at most [IDPairsMax] pairs
// (RFC 2971 §3.3). The rest is bounded by the length.
//
// RFCs: 9051 and 3501 (base), 2971 (ID), 3348 and 5258 (LIST), 3502
// (MULTIAPPEND), 3516 (BINARY), 3691 (UNSELECT), 4315 (UIDPLUS), 4731 (ESEARCH),
// 4959 (SASL-IR), 4978 (COMPRESS), 5161 (ENABLE), 5182 ($), 5819
// (LIST-STATUS), 6154 (SPECIAL-USE), 6851 (MOVE), 6855 (UTF8), 7162
// (CONDSTORE, QRESYNC), 7889 (APPENDLIMIT), 8438 (STATUS=SIZE).
package command
