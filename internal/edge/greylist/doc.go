// Package greylist remembers which senders have passed and which were told to
// come back later, and says what that has cost.
//
// Greylisting answers a stranger's first attempt with 451 and lets a later one
// pass, since most programs that send spam do not come back. It has a bad name
// for what it did to good mail: large senders retry from other addresses and
// start anew each time, and nobody knows what was delayed or lost. This package
// is apart from edge/policy, which decides whom to ask to wait, because it has
// a memory of its own that outlives the process.
//
// A sender is known by its pool, never by its exact address: the domain whose
// SPF record authorises it (Sender.Pool), else its /24 or /64 and the domain of
// its HELO name. Who waits is known by pool and sender domain, never by local
// part or recipient. A sender whom SPF authorised at one attempt and not at
// another, because DNS failed, is found again by either name.
//
// Flow: edge/policy asks KnownAddr when a connection comes, Known before it
// tests, Check when a guest earned suspicion, and tells Accepted when its
// message was accepted. The host hands the Table to it. Nothing comes after.
//
// Invariants:
//
//   - What passed once passes for Options.Keep, counted anew at each accepted
//     message, with any sender domain and with none (bounces).
//   - An attempt after Options.Wait passes, from whichever address of the pool.
//   - Memory is bounded by MaxKnown and MaxWaiting. A waiting sender is never
//     forgotten to make room before windowMin has passed: others pass instead.
//   - A file that is damaged or of another format is set aside, logged, and
//     begun anew; the host starts.
//   - Only an accepted message makes a pool known to Known and KnownAddr: who
//     has merely come back is not asked to wait again, and no more.
//
// Concurrency: all methods may be called from many goroutines. Those who passed
// are in shards, each with a lock; those who wait have one lock. No method but
// Run and Close touches a file.
//
// Limits: 12 octets of data (about 30 of memory) for a known pool or network,
// about 300 for a waiting sender; texts are cut to textMax octets, the messages
// remembered of a sender to heldMax, the lists of the report to listMax, its
// waits to waitsMax; days are kept for daysMax.
//
// RFCs: 6647 (greylisting: §2.4, §5), 5321 §4.5.4.1 (retries), 7208 (SPF).
package greylist
