// Package wire holds the smallest SMTP and IMAP clients that can drive a mail
// server hard: sockets and bytes, no parsing beyond what the next command needs.
//
// It exists apart from the product's own SMTP client and from any library
// because the load shares the machine's cores with the server it measures: what
// the client spends, the server is said to cost. A benchmark that spends half of
// its time in the client measures the client. The interop suite uses it too,
// where it has to see the bytes exactly as they came.
//
// In the flow it stands outside: package main of bench and package interop call
// it, it calls only net and crypto/tls.
//
// Invariants. One SMTP command group and its replies are one round trip
// (PIPELINING, RFC 2920), the body another: the same for every server, so that
// ratios compare servers. A reply that is not the expected one is a *ReplyError
// and leaves the connection usable; any other error means that the connection is
// gone and the fate of the last message unknown.
//
// Concurrency: a client belongs to one goroutine at a time. Close may be called
// from another one to break it.
//
// Limits: an SMTP reply line of 1 KB, an IMAP line of 16 MB, a literal of 64 MB, no deadline unless
// SetDeadline is called on Conn.
//
// RFC 5321 §4 (commands and replies), RFC 2920, RFC 9051 §2.2 and §4.3 (lines
// and literals), RFC 7888 (LITERAL+), RFC 2177 and RFC 9051 §6.3.13 (IDLE).
package wire
