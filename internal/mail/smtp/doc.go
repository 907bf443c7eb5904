// Package smtp is the SMTP protocol without its sockets: the server's side of
// a dialogue as a machine, the wire forms of commands, paths and replies, and
// a client.
//
// It is apart from edge/session so that one machine can be run by two shells:
// by a goroutine with a socket, and by the lobby's loop, which keeps thousands
// of guests. What a guest has said so far is a Dialogue, a struct of some 120
// octets; a shell gives events to Machine.Step and does the actions that it
// gets back. A Dialogue can change shells between any two steps, with the
// octets that were read and not consumed.
//
// Flow: edge/listen comes before it, with octets. Behind the questions that
// the machine asks (a recipient, a body, TLS, a login) stand spool/intake and
// mail/sasl; its shell asks them.
//
// Invariants:
//
//   - What a dialogue answers depends on the octets, the answers and the
//     time, never on how the octets were cut into reads. (Dialogue.Early is
//     only a hint.)
//   - A command ends in CRLF, the body of DATA in CRLF "." CRLF, and nothing
//     else does (RFC 5321 §2.3.8, §4.1.1.4). A bare CR, bare LF or NUL in a
//     command refuses the command, in a body the message; either way the
//     machine reads on to the true end, or closes at once if it was told to.
//     Bodies by BDAT obey the same rules, except that the last line may lack
//     its CRLF.
//   - Each command gets one reply, in order; a question is answered before
//     more input is consumed.
//   - 250 after a body is sent only when the shell has said that the message
//     is durable.
//   - After STARTTLS nothing counts that was said before, and no octet that
//     came with it is consumed as a command (RFC 3207 §4.2, §6).
//   - AUTH is offered under TLS only.
//
// Concurrency: a Machine is immutable and shared; a Dialogue and a Client
// belong to one goroutine at a time.
//
// Limits: limits.go has those of the protocol, Options those an operator may
// change. A dialogue keeps a command line of which a part has arrived (2 KB,
// 12 KB in AUTH) and its recipients; a body is passed on in parts of the
// input and never kept.
//
// RFCs: 5321, 1870 (SIZE), 2034 and 3463 (ENHANCEDSTATUSCODES), 2920
// (PIPELINING), 3030 (CHUNKING; BINARYMIME is not offered), 3207 (STARTTLS),
// 3461 (DSN), 3848 (protocol names), 4954 (AUTH), 6152 (8BITMIME), 6409
// (submission), 6531 (SMTPUTF8), 9422 (LIMITS).
package smtp
