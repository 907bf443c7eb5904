// Package policy judges strangers: ordered checks, cheap ones first, each of
// which adds its evidence to a Verdict.
//
// It is apart from the lobby and the session so that one place says who gets
// in, and so that the same judgement can be made for show: Explain makes every
// check for a would-be sender and changes nothing. It never closes a connection
// and has no doors but the files of its history.
//
// Flow: the lobby asks Arrive for each connection, Score while it waits, Decide
// at the first recipient or at STARTTLS, and tells Left of those that it did
// not hand over. Sessions ask Recipient, and tell RecipientRefused, Accepted,
// LoginFailed and LoginOK. Behind it stand the lists (edge/dnsbl), the greylist
// and the bans through interfaces, and sender policies (mail/mailauth).
//
// Decide adds up weights: of what the lobby saw (Faults), of the HELO name, of
// harvesting, of the lists. From Scores.Refuse on the guest is refused; from
// Scores.Suspect on it is greylisted, unless its pool has passed before. A
// check in shadow leaves its evidence and adds nothing; what it would have
// done, and to whose accepted mail, is in the report of Shadow.
//
// What each level of load changes:
//
//	                               calm   busy            stormy
//	reached when places taken     -      50 %            97 %
//	  or memory used              -      50 %            90 %
//	  or arrivals a second        -      50              300
//	strangers at once, address    20     20              8
//	strangers at once, network    60     60              24
//	times of guests in the lobby  long   shorter         shortest (edge/lobby)
//
// The level rises at once, and falls by one when it has been under 70 % of its
// thresholds for 30 seconds. Verdicts do not depend on it, nor does the wait
// before the banner: a new good sender shall not notice a wave.
//
// Invariants:
//   - Nobody in Options.Allow waits, is refused or is banned; nobody is banned
//     before a refusal, or within a day of a login. What IPv6 addresses of a /64
//     do is counted as one, and banned as one if nobody good is known there.
//   - A list that gave no usable answer has no weight, whatever it seems to say.
//   - A guest is deferred only for a middling score or a rate, and a guest of a
//     pool that has passed before never for its score.
//   - Whatever arrives, memory is bounded: tables are of fixed size, and forget
//     the oldest.
//   - Explain changes nothing.
//
// Concurrency: all methods may be called at once and none blocks, but Explain,
// ExplainSession and ShadowHistory, which wait for name servers or files. Tables
// have 64 locks each. Run has a goroutine that writes the history, and four that
// ask for SPF records.
//
// Limits: the constants ending in Max. A verdict costs some microseconds.
//
// RFCs: 5321 (§3.1, §4.1.1.1, §4.1.3, §4.1.4, §7.8), 2920 (§3.1), 3463, 4380,
// 6052, 6177 and 8215 (what a source of IPv6 is), 6647 (greylisting), 7208 (networks of senders), 8259 (the lines of the history).
package policy
