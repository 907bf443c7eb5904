// Package load plays the clients: the wave of 27 July 2009, times a factor,
// with good senders beside it, against any SMTP server of this machine.
//
// It stands apart because it must be believed: it imports nothing of the
// server that it measures, speaks to it only by sockets, and treats every
// server alike. The wave is the table of the operator who was hit (4 to 301
// open connections in 323 s).
//
// A stranger connects from a /24 of its own out of 127.16.0.0 to
// 127.254.255.255, waits for the banner, says EHLO, MAIL and RCPT one by one,
// and after its 5xx falls silent and stays, as they did. When the server
// closes, another takes its place: at once, but after a while if there was no
// answer at RCPT. Good senders come from
// 127.1.0.0/16: known ones delivered in the quiet phase before the wave, new
// ones come once from a /24 of their own. They come by a timetable, whether
// or not those before them are done, so that a server that stands still is
// not asked less often.
//
// Flow: cmd/breakwater and bench/wave call Wave; nothing below it is ours.
// crowd decides how many strangers there should be, stranger is one dialogue
// as a machine without I/O, loop gives both their sockets; sender is a good
// delivery; meter reads /proc; SVG draws a Result.
//
// Invariants: no packet leaves the machine: the target must be a loopback
// address or one of the machine's own. Each stranger that was connected is in
// the end counted exactly once as refused, accepted, turned away, lost or
// unfinished. Nothing waits longer than its patience.
//
// Concurrency: one goroutine owns all strangers, in an epoll loop; a stranger
// costs it some 40 bytes, since client and server share the machine. Each
// good delivery has a goroutine. Counters pass between them under one mutex.
//
// Limits: descriptors (RLIMIT_NOFILE, checked before the wave), 256 good
// deliveries at once, and the bounds of Options. Linux.
//
// RFCs: 5321 §4.1.1 (the commands), §4.2.1 (multi-line replies).
package load
