// Command outbound measures how fast mail leaves: Breakwater and Debian's Postfix
// take the same messages and hand them to one next hop, one after the other, in
// the same run on the same machine.
//
//	go run ./bench/outbound                       both rows
//	go run ./bench/outbound -queued 0             without the million
//	go run ./bench/outbound -messages 2000 -conns 4
//
// It exists apart from bench, whose rows end when IMAP shows a message: here a
// row ends when the last message is at the next hop.
//
// Row "one next hop": -conns connections hand in -messages messages of 4 KB as
// fast as they are taken, which the server sends on meanwhile. The rate is
// messages by the time from the first command to the last message at the next
// hop. Both servers sync what they accept, and take it under TLS from the first
// octet on, with certificates of the same kind. Postfix takes it from its own
// network; Breakwater, which relays for nobody, by submission, with a login a
// connection: its figures include that. DKIM signs nothing, since there is no key.
//
// Row "queued": Breakwater is given -queued recipients (1,000 a message) while
// nobody answers at the next hop; then its memory is read, it is stopped, and
// started again with a next hop that answers: how long until it is healthy, and
// until the first message is there.
//
// Flushes are those of the block device under -dir (see bench/proc). It runs in
// namespaces of its own, as root, and ends by itself after -timeout at the latest.
package main
