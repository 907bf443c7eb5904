// Package delivery makes one attempt to hand a message to another host: to the
// MX hosts of a domain, or to a next hop by SMTP or LMTP.
//
// It stands apart from spool/queue because the queue decides when and what is
// attempted, without I/O, and this package only how: everything that can be
// slow, hostile or broken on the way is in here, and comes out as an outcome
// for each recipient.
//
// Flow: queue calls Carry with a Job. The next hop is the operator's for these
// recipients, else a Route's, else the default, else the MX hosts that base/dns
// finds. spool/tlspolicy says what TLS has to be like, the client of mail/smtp
// speaks, and the body comes from the journal through Bodies.
//
// Invariants:
//
//   - Each recipient of a Job gets one outcome, whatever happens.
//   - A message is sent again at once only if its end has not been sent. After
//     that, without an answer, it is deferred, and Reason says that it may
//     arrive twice.
//   - A refusal of the sender, a recipient or the message is the last word of
//     an attempt. What another MX host may think otherwise of is tried there:
//     no connection, no greeting, no TLS as the policy wants it.
//   - MX records lead to no private or special address, and to no host that
//     would send the mail back to us.
//   - Where a policy, a route or REQUIRETLS demands TLS, no octet of a message
//     goes without; a password never does. What a domain's policy demands, and
//     only that, a message can do without (TLS-Required: No).
//   - A connection is used again only for a host, address, policy and login
//     that are the same, and only while every reply has had its command.
//   - A Reason without a Reply begins with its enhanced status code.
//
// Concurrency: Carry may be called from many goroutines. The pool's mutex is
// held for moments, never during I/O; a connection belongs to one attempt.
//
// Limits: options.go. All waits end: each reply, each connection's beginning,
// each message; so an attempt does, too.
//
// RFCs: 5321 §5.1 (MX), §4.5.3.2 (waits), 1870 (SIZE), 2033 (LMTP), 2920, 3030,
// 3461 §5.2 (DSN), 3463, 4954, 6152 §3, 6531 §3.2, 7435, 7505 (null MX), 7672,
// 8314 §3.3, 8461, 8689, 9422.
package delivery
