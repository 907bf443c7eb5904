// Package session holds one SMTP conversation: it runs the machine of
// mail/smtp over a connection, for mail from other hosts (MX) or from our own
// users (Submission), until the client leaves or is made to.
//
// It is apart from the machine because all waiting is here: for octets, for
// TLS, for passwords, for the mailroom. It is apart from the mailroom because
// a stranger is on the other side: nothing that is known here of accounts or
// mailboxes came from anywhere but the answers to the questions that Mailroom
// and sasl.Backend take.
//
// Flow: edge/listen comes before it and hands over a connection; the lobby
// does so in mid-dialogue, with the machine's state and the octets that it had
// read (Beginning). spool/intake comes after it as the Mailroom, or edge/relay.
// A session ends in accepted messages, each confirmed by Body.Commit, or in
// replies; Beginning.Ended hears the sum. Users who log in on port 25 are
// served as on port 587 from then on, in Options.Users.
//
// Invariants:
//
//   - I1: 250 after a body is sent only after Body.Commit has returned
//     without an error.
//   - Every body that was begun ends in exactly one Commit or Abort, also
//     when the client vanishes, is too slow, or the host stops; after that
//     every transaction that was opened is closed, once.
//   - Only a *smtp.Reply is told to the client as it is. Any other error is
//     451 4.3.0 on the wire and whole in the log.
//   - Passwords are asked for under TLS only, never logged; a fault behind
//     them is 454 4.7.0, counts against nobody and is never 535.
//   - A login that no longer counts (Reviewer) begins no transaction, and ends
//     none: its message is refused.
//   - What a client sent in the clear before TLS is thrown away at the switch.
//   - A connection that is silent holds no read buffer (a plain socket) or
//     one of 512 octets (TLS).
//   - When the context ends, a message that is arriving may be completed
//     within Options.Grace; then, or at once if there is none, the client
//     gets 421 4.3.2.
//
// Concurrency: a Server serves any number of connections, each on the
// goroutine that calls ServeConn. A session starts no goroutine.
//
// Limits: those of Options and of smtp.Options; the waits of RFC 5321
// §4.5.3.2 are in smtp.Times, those for writing, for a handshake and for a
// login in options.go.
//
// RFCs: 5321, 6409 (submission), 3207 (STARTTLS), 4954 (AUTH), 2920
// (PIPELINING: replies are sent together), 8314 §3.3, 8689 (REQUIRETLS).
package session
