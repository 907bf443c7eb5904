// Package alarm tells the operator that something is wrong, by roads that do
// not lead through the queue: a webhook, a program, syslog.
//
// It stands apart because what it reports is often that mail does not move:
// an alarm that is itself a mail would wait behind the backlog that it is
// about. Nothing here touches the store, so that it speaks while the disk does
// not.
//
// Flow: whoever notices something calls Raise or Clear (restraint when it holds
// an account, the host when the journal fails); Watch asks the queue, the
// ledger, the journal and the disk by itself. What is raised is kept by key in
// a machine without I/O, which decides who is told what and when; one goroutine
// for each sink carries the notices out. ops/admin shows the list and asks for
// a test.
//
// Invariants:
//
//   - Raise and Clear never wait: not for a sink, not for a disk.
//   - One key is one alarm. Raising it again says nothing new before
//     Options.Repeat is over, unless it has become worse; clearing it says so
//     once, to the sinks that were to hear of it.
//   - A sink that hangs, fails or dies delays no other, costs a bounded number
//     of waiting notices, and is a metric and a line of the log.
//   - No alarm that is up is forgotten by a full buffer: what a sink missed it
//     hears at the next repeat.
//   - No shell: a program is started with the arguments that the configuration
//     names, reads JSON from its standard input, and is killed when its time is
//     over. No secret is logged.
//
// Concurrency: all methods may be called from many goroutines. One mutex guards
// the machine and is held for no I/O.
//
// Limits: alarmsMax alarms at a time, factsMax facts each, waitingMax notices
// for a sink; each attempt has sendTimeout, and a notice attemptsMax of them.
//
// RFCs: 5424 (syslog messages), 5425 (over TLS), 5426 (over UDP), 6587 §3.4.1 (over TCP, by
// octet counting), 2104 (HMAC, of the webhook's signature).
package alarm
