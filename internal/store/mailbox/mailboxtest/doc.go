// Package mailboxtest holds the one suite that every mailbox store must pass,
// and the model that it is compared with.
//
// The model is the specification in the plainest form: maps and slices, no
// journal, no index, no concurrency. RunSuite makes random operations, does
// each to the store and to the model, and after each step compares everything
// that a reader can see: names, special uses, subscriptions, UIDVALIDITY, UIDs,
// flags and keywords, sizes, dates, MODSEQs, what changed and what vanished,
// usage, and the bytes of the messages. In between the store is restarted, loses
// its index, gets an older copy of it back, and compacts its journal: none of
// that may be seen.
//
// The package exists apart so that a store on another database runs the same
// suite. It is imported by tests only.
//
// Invariants checked: I2 (a message is there exactly once), I6 (UIDs and MODSEQs
// only grow, a rebuilt index shows the same).
//
// Concurrency: none; a Subject is used by one goroutine.
//
// RFCs: 9051 §2.3.1, §6.3, §6.4; 7162 §3.
package mailboxtest
