// Package wire reads and writes the lexical elements of IMAP: atoms, quoted
// strings, literals, numbers, sequence sets, dates and mailbox names.
//
// It exists apart from the commands because ManageSieve shares its strings and
// because the lexical layer is where hostile bytes arrive first: it can be
// fuzzed alone. It knows no command, no session and no connection.
//
// In the flow it stands between the connection's buffer and
// access/imap/command. The session collects one whole command, with its
// literals in place ("{3}\r\nabc"), and hands the bytes to a [Scanner]. The
// way back are the Append functions, which print values onto a byte slice
// without allocating.
//
// Invariants: a Scanner never reads outside its slice, never allocates more
// than the bytes it was given, and after its first error stands still, so that
// a grammar can be written without a test after each element. What an Append
// function prints, the Scanner reads back to the same value.
//
// Concurrency: all values are plain data; a Scanner belongs to one goroutine.
//
// Limits: the caller bounds the length of a command; a set has at most
// [SetRangesMax] ranges, a number is at most 2^63-1 (mod-sequences, RFC 7162)
// or 2^32-1 (everything else).
//
// RFCs: 9051 §9 and 3501 §9 (the grammar), 3501 §5.1.3 (modified UTF-7),
// 7888 (non-synchronising literals), 3516 §4.2 (literal8), 5182 ($).
package wire
