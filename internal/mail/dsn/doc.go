// Package dsn makes and reads delivery status notifications: the messages by
// which a host tells a sender what became of his mail.
//
// It stands apart because such a report has two readers. People want to know
// in one sentence what happened, in the remote host's own words why, and what
// they can do; programs want exact fields. Both are made here of one Report, so
// that they cannot differ, and nothing else has to know how a report looks. It
// does no I/O but to read the message that is reported on, and knows no time.
//
// Flow: before it is spool/queue, which knows what became of each recipient;
// behind it is spool/intake, which takes the report as the host's own mail.
// Build makes the whole message: text for people, a part for programs, and the
// message that is reported on or its header. Parse reads reports, of other
// hosts too, as far as they can be understood.
//
// Invariants:
//   - Build is pure: the same Report gives the same octets.
//   - What strangers wrote (subject, ids, replies) stays where it belongs: no
//     field, part or boundary can be made by it. People see no control
//     characters of it, and no more of it than they can read.
//   - For a sender with an ASCII address all is 7-bit in lines of at most 998
//     octets: it can go anywhere. An international sender's host takes UTF-8.
//   - Recipients with one fate are told of together, each is told of once, and
//     each stands in the part for programs.
//   - The whole message is returned only if that was asked for, of a failure,
//     and if it is small: whoever is told by mistake gets little.
//   - A report is never made for the null reverse-path (RFC 3461 §6.1).
//   - Parse takes any octets; what is not understood is left out. Text of other
//     hosts is one line of valid UTF-8.
//
// Concurrency: functions only.
//
// Limits: 64 KB of a message are returned, 1 MB of a report are read, with
// 2,000 recipients and 512 KB for programs; replies of 800 octets, our own
// sentences of 400, 100 recipients of one fate in the text.
//
// RFCs: 3461 (§6 what a report holds), 3462 as 6522 (multipart/report), 3464
// (fields), 3463 (what codes mean), 3834 §5 (Auto-Submitted), 6533
// (international addresses), 2047 (the subject).
package dsn
