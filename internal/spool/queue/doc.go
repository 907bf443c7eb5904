// Package queue decides when each open recipient is tried next, has it tried,
// and sees to it that every one of them ends and its sender is told.
//
// It is apart from store/fate, which keeps what became of recipients and
// decides nothing, and from spool/delivery, which makes one attempt and does
// not know of the next. What is tried when is a machine without I/O, so that
// an hour's outage with 50,000 messages is a test of a second.
//
// Flow: spool/intake makes recipients open with the record of their message;
// fate's Update tells the queue (and Open does at the start). A Carrier tries
// them, the outcome goes back to fate as a Change, and where the sender is to
// hear of it, with the report in one record through a Poster. ops/admin shows
// Backlog and List, and acts through Act.
//
// To read it: types.go has the words. The machine is table.go (an entry for each
// open recipient), heap.go and timers.go (their orders), task.go (what is tried and
// what becomes of it), destination.go (when a place is tried, and how much at a
// time), sweep.go (warnings, expiry), operate.go, clock.go, and machine.go, which
// puts it together. Around it are queue.go and run.go (what comes in, and the
// loop), attempt.go, saver.go (what came of attempts becomes durable), report.go
// (senders are told), act.go, list.go, backlog.go and metrics.go (operators).
//
// Invariants:
//
//   - I3: a recipient leaves the queue only when a durable record says that it
//     has ended. Faults of the store, of the Carrier or of the Poster put it
//     off; nothing drops it.
//   - A place at a destination is free again only when the result is durable:
//     a crash makes at most the attempts under way happen twice.
//   - At each destination what is oldest goes first; destinations take turns,
//     and those that have attempts under way leave room for those that have
//     none, so that no destination delays another.
//   - A destination that is down gets one attempt at a time. When it is back,
//     all that waited for it is due, at a pace that begins with two at a time.
//   - While results cannot be made durable, attempts do not begin.
//   - A bounce and the report of it are one fact. The null reverse-path is
//     never told anything, nor does anybody hear what they did not ask for.
//   - What an operator holds, or an account that is held, is neither tried nor
//     warned of nor given up.
//
// Concurrency: mu guards the machine, and is not held while anything waits.
// Run's goroutine takes steps; each attempt has a goroutine; one more makes
// results durable, those that end meanwhile in one record. Update only notes
// down. All methods may be called at any time.
//
// Limits: Options; the rest, each with its reason, in options.go. An open
// recipient takes 48 octets and its place in a table of hashes; a destination
// some 250, and so does a domain that all goes by a next hop.
//
// RFCs: 5321 §4.5.4.1 (retries), §4.5.5 (null reverse-path); 3461 §4.1 and
// §5.2 (who is told of what), 3464 (reports, which mail/dsn makes).
package queue
