// Package sasl is the server side of the SASL mechanisms that Breakwater
// speaks: SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN and LOGIN.
//
// It is apart from the protocols because SMTP, IMAP, POP3 and ManageSieve
// wrap the same exchanges in different lines, and apart from the account store
// because it does no I/O of its own: an Exchange turns responses into
// challenges, and asks a Backend, which the caller gives, for the only two
// things that it cannot know: whether a password is right, and what verifier
// belongs to a name.
//
// Flow: edge/session and access/* read a line, DecodeResponse makes bytes of
// it, Exchange.Next makes the next challenge, AppendChallenge makes a line of
// that. When Next says done, Identity tells who has logged in.
//
// Invariants:
//
//   - A fault is never a wrong password. ErrCredentials, ErrMalformed and
//     ErrCancelled are the client's doing; any other error comes from the
//     Backend and means that nobody knows whether the credentials were right
//     (RFC 5530 UNAVAILABLE, RFC 4954 454 4.7.0).
//   - Nothing is offered and nothing starts without TLS.
//   - An authorization identity is empty or names the one who authenticates:
//     nobody acts for another.
//   - A name that does not exist takes the same steps as one that does; the
//     Backend supplies stable invented salts and constant work for it.
//   - A verifier is read again when the proof arrives: a password that was
//     changed during the exchange no longer lets anybody in.
//   - Neither responses nor challenges nor passwords appear in errors.
//
// Concurrency: an Exchange belongs to one connection and one goroutine.
// The functions of the package keep no state.
//
// Limits: MaxLine and MaxResponse for one response, MaxName and MaxPassword
// for its parts, MaxNonce for a client's nonce. An exchange ends after at most
// three responses.
//
// RFCs: 4422 (SASL), 4616 (PLAIN), 5802 and 7677 (SCRAM), 5929 §4 and 9266
// (channel binding), 4013 (SASLprep), 4954 §4 (base64 in SMTP AUTH). LOGIN
// has no RFC; it is as Internet-Draft draft-murchison-sasl-login describes it.
package sasl
