// Package ledger closes the books: it proves at any moment that every
// recipient that was accepted has a fate, and tells the whole life of a
// message.
//
// It stands apart from store/fate, which keeps the facts, because whoever keeps
// the books should not be the one who audits them: Close reads running sums,
// and Audit counts anew and compares the facts with witnesses that do not depend
// on each other: the records that accepted each message, the queue's memory, the
// bodies on disk, the count of 250s that were given.
//
// Flow: store/fate (the tables), spool/queue (what is known to be open),
// store/mailbox (bodies) and spool/intake (250s given) come before it, each
// behind an interface of its own. ops/admin, health and ops/alarm come after
// it.
//
// Invariants:
//
//   - accepted = delivered + relayed + bounced + discarded + set aside + queued,
//     per recipient, or Books says that it does not balance and which messages
//     break it.
//   - Audit reads and never writes; it reads at most Options.Reads messages a
//     second, and holds no lock of the store while it waits.
//   - Nothing that is merely in flight is a finding: what looks wrong is looked
//     at again after a pause, and counts only if it is wrong both times.
//   - A record that the index set aside is unaccounted for: nobody can say
//     what it held.
//
// Concurrency: all methods may be called from many goroutines; Audit.Run once.
//
// Limits: idsMax ids in Books, findingsMax findings of an audit, livesMax lives
// of a trace; an audit looks at one day, bodiesMax bodies and numbersMax messages
// a run and goes on from there in the next.
package ledger
