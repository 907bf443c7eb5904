// Package restraint judges what accounts send: it counts their recipients
// against limits, learns what each of them usually does, and says when one has
// begun to behave as if its password were in the wrong hands.
//
// It is apart from spool/intake, which asks it, because it has a memory of its
// own that outlives the process, and from store/account, whose facts are in
// the journal: what is usual for somebody is no fact, and losing it costs
// nothing but learning it anew. It never acts: a verdict is a value, and the
// hold that follows from one is store/account's.
//
// Flow: spool/intake asks Recipient at each RCPT of a user, and Message when
// the body has ended; the queue tells Bounced and Relayed, and who files mail
// tells Heard. Guard joins them to store/account, so that a verdict becomes a
// hold. Released is told when a hold ends.
//
// What holds an account, in numbers that limits.go explains:
//
//   - Strangers: more recipients in a week whom the account never wrote to
//     than 120, or 160 if it knows many people, or twice its usual week. Since
//     a week is counted and not a rate, a thief gets out no more by being slow.
//     Many bounces or networks leave less. Who wrote first is no stranger.
//   - Messages at machine pace to those whom it did not know yesterday.
//   - Bounces, when they are a third of what it sent.
//
// Networks (/24, /48) are counted, too: all accounts that send from one have a
// limit together. Accounts that are new there and write to strangers are a
// crowd when there are several, as of one program with many passwords: together
// they may then write to as many strangers as one of them alone.
//
// An account whose limits the operator raised sends to lists: it may write to
// as many strangers as the limit says until it has sent for a while, and to half
// of those it knew from then on. The limits themselves only delay: they are told
// with their end.
//
// Invariants:
//
//   - The same questions at the same times give the same answers: the clock is
//     handed in, arithmetic is in whole numbers, nothing is drawn by lot.
//   - Every recipient that was allowed has been counted before it is answered,
//     whichever of several sessions it came by.
//   - Memory is bounded: books of accounts (Options.MaxAccounts), names in them
//     (Options.MaxKnown), networks; those not used for longest go first.
//   - A file that is damaged or of another format is set aside, logged, and
//     begun anew.
//
// Concurrency: all methods may be called at any time; one lock guards all. No
// method but Run and Close touches the file.
//
// Limits: limits.go. 8 octets for each name that an account knows, about 600
// for the rest of its book.
//
// RFCs: 5321 §4.5.3.1.10 and 3463 §3.8 (the replies), 6409 §6 (a submission
// server may enforce policy).
package restraint
