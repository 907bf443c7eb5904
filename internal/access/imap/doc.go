// Package imap lets owners read and change their mail: an IMAP4rev2 server
// (RFC 9051) that also speaks IMAP4rev1 (RFC 3501) until a client enables the
// former.
//
// It exists apart because a protocol is a wall: nothing below knows what a
// sequence number, a tag or a literal is, and nothing here knows how a message
// is kept. wire has the lexical elements, command the grammar; this package
// executes commands, one file each.
//
// In the flow it stands at the right-hand end: edge/listen (through the host)
// hands it a connection, mail/sasl checks who it is, store/mailbox is read and
// changed. Every change is durable before its tagged OK.
//
// Invariants:
//   - No credential is taken without TLS. A fault behind the check of one is
//     UNAVAILABLE and costs nobody anything; only a wrong one is called wrong.
//   - A client that applies the untagged responses it got knows the mailbox
//     as the tracker says it does; sequence numbers change only by EXPUNGE,
//     VANISHED and EXISTS, and never during FETCH, STORE and SEARCH.
//   - No octet of a message is sent that failed its checksum. A damaged
//     message is named in the answer, the others are served.
//   - Memory is bounded: messages are streamed both ways, a waiting session
//     holds no buffers.
//
// Concurrency: one goroutine a session, which parks in one read. Changes of the
// mailbox and the end of the host interrupt that read by a deadline in the
// past (waker). A long FETCH borrows a second goroutine that reads ahead, a
// SEARCH in bodies two.
//
// Limits (options.go, command): command text 64 KB, literals 64 KB each and
// 256 KB a command, 16 KB and 4 KB before the login; one message of an APPEND
// 50 MB, 100 messages and four times that in one APPEND; login within a
// minute, five failures with a growing delay, 50 commands before a login, 20
// BADs in a row; autologout after 31 minutes; 50 sessions a user; 5 minutes of
// silence in the middle of a command; a minute for a change. A synchronising
// literal above its limit is refused before it is sent; one that is sent
// without being asked for ends the session.
//
// Deviations: \Recent is not kept (RFC 9051 dropped it): RECENT is 0, NEW
// finds nothing. INTERNALDATE is kept in seconds without its zone and printed
// in UTC, by which SEARCH counts days. ENABLE is taken with a mailbox
// selected. FETCH 1:* of an empty mailbox is OK. Names with 8-bit octets are
// understood as UTF-8 in any session. SEARCH compares by simple Unicode case
// folding, and address fields and the other fields of an ENVELOPE in their
// parsed form. The tails of headers beyond 1 MB are not searched. Strings of a
// message that are not ASCII go to a session without UTF8=ACCEPT as literals,
// not downgraded (RFC 6855 §6). COMPRESS keeps no window between responses.
// A mailbox that is deleted by another session ends those that have it
// selected.
//
// RFCs: 9051, 3501, 2177, 2342, 2971, 3348, 3502, 3516, 3691, 4315, 4731,
// 4959, 4978, 5161, 5182, 5258, 5530, 5819, 6154, 6851, 6855,
// 7162, 7888, 7889, 8438.
package imap
