// Package relay puts the edge in front of another SMTP server (edge mode): a
// Mailroom for edge/session that hands every transaction on to an inner server
// while its client waits, so that nothing is accepted here that has not been
// accepted there.
//
// It is apart from spool/intake, the other Mailroom, because it keeps nothing:
// no accounts, no store, no queue. What it has are connections to one server,
// what that server said about recipients a moment ago, and what it can do. It
// is apart from mail/smtp's Client because that sends messages which are there
// as a whole, while here a stranger is still sending, and may stop.
//
// Flow: edge/session comes before it. At MAIL nothing is asked of the inner
// server yet; at the first recipient that is not known to be refused there, a
// connection is taken from the pool or made, the inner server is told who the
// client is (XCLIENT, or PROXY protocol version 2), and hears MAIL and RCPT;
// DATA and the body follow as they come, behind a Received field and those of
// Envelope.Headers. Its replies go back as they are: code, enhanced code and
// text, but for those that speak of our connection and not of the mail. Every
// five minutes a probe asks what the server offers (Options.Offered).
//
// Invariants:
//
//   - I1, by proxy: Commit returns nil only after the inner server's 2yz to the
//     final dot. A connection that is lost before it is 451. The sender tries
//     again, so that a message can be doubled if the inner server took it and
//     died before it could say so, and never lost (RFC 5321 §4.2.5).
//   - A body that does not end is never ended: Abort closes the connection.
//   - A body cannot say anything to the inner server but its octets: dots are
//     doubled, a bare CR or LF ends it.
//   - Only a refusal can be remembered, only one that is about the recipient
//     by its enhanced code, and only for a short time.
//   - An inner server that would relay for strangers gets no mail to do so.
//   - While the inner server is down clients hear 450 4.4.1 at once, and it
//     costs a probe every few seconds.
//
// Concurrency: a Relay serves any number of sessions; a transaction and its
// connection belong to one of them. Run is the one goroutine of its own.
//
// Limits: Options.MaxConns and MaxIdle; the octets of a reply and of what is
// unread (inner.go); remembered recipients (verify.go); a wait for each step.
//
// RFCs: 5321, 1870 (SIZE), 2920 (PIPELINING: MAIL and the first RCPT go
// together), 3207 (STARTTLS), 3461 (DSN parameters are passed on), 6152, 6531.
// XCLIENT is Postfix's, the PROXY protocol HAProxy's.
package relay
