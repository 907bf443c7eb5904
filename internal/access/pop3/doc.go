// Package pop3 serves the INBOX of an account to POP3 clients.
//
// It stands apart from package imap because its model is another one: a
// session sees one drop-box as it was at login, numbered from 1, and changes
// it once, when it ends. A connection comes from edge/listen through the host
// (the package declares the one method more than net.Conn has that it needs,
// so that it names no listener); credentials go to package sasl's exchanges
// and from there to the account store; messages come from the mailbox store,
// and what the client deleted goes back there. Nothing comes after it.
//
// Invariants:
//   - A name or password is taken only under TLS.
//   - A fault behind a login is [SYS/TEMP], never [AUTH], and counts against
//     nobody.
//   - An account's drop-box has at most one POP3 session. IMAP sessions are
//     neither counted nor kept waiting.
//   - Nothing is removed unless the client said QUIT, and the +OK to that QUIT
//     is sent when the removal is durable. A session that ends otherwise
//     leaves the drop-box as it was.
//   - A unique-id (UIDL) is the mailbox's UIDVALIDITY and the message's UID:
//     it stays with a message for ever and is never given to another.
//   - A message whose checksum fails is refused, or, when that shows only in
//     the middle, its response is broken off without the final dot.
//
// On the wire every line ends in CRLF: a bare LF of a stored message is sent
// as CRLF, so that no client can take text for the end of a response. The
// sizes in STAT and LIST are those of the stored message.
//
// Concurrency: a Server may serve any number of connections, one goroutine
// each, the caller's; the table of locked drop-boxes is guarded by a mutex
// that is never held over I/O. A session belongs to its goroutine.
//
// Limits: the length of a line, the number of wrong commands, of commands
// before login and of refused logins; a wait for each read, each write, a
// TLS handshake, a login and the final update (options.go). A session holds
// two small buffers, 32 KB more while it sends a message, a shared snapshot
// of the mailbox's list and one bit a message; never a body.
//
// RFC 1939 (POP3), RFC 2449 (CAPA, response codes), RFC 2595 §4 (STLS),
// RFC 3206 (SYS and AUTH), RFC 5034 (AUTH), RFC 6856 (UTF8),
// RFC 8314 §3 (no clear text).
package pop3
