// Package tlsreport counts the TLS sessions with other domains' hosts, tells
// each domain that wants to know what became of them in a day, and keeps what
// other hosts tell us of their sessions with ours.
//
// It stands apart because reports must never be in the way of mail: delivery
// hands a Session over and goes on, and what is slow, refused or lost here costs
// nobody a message. What a report looks like is mail/tlsrpt's matter.
//
// Flow: spool/delivery calls Session after each connection; Run, some hours
// after midnight (UTC), asks the DNS who wants the report of a domain, and
// hands it to a Poster as mail, or posts it over HTTPS. The other way round,
// the host gives messages to the Archive's Collect, and the command lists them.
//
// Invariants:
//
//   - A session counts in the day (UTC) in which it ended, once.
//   - A day's report of a domain has the same id whenever it is sent: after a
//     crash in between it may be sent again, and can be known again.
//   - What was counted is lost by a crash for the last minute at most, where
//     there are thousands of domains for the last minutes: a large file is
//     written less often. What was sent is remembered at the end of a pass, and
//     after each 50 reports of one.
//   - Reports make no reports: a connection for one counts only in a day in
//     which there were others to the domain.
//   - Nobody is told who does not ask for it, and nobody for longer than a day
//     after the first attempt.
//   - A report that others send is kept trimmed to a fixed size, and never
//     believed: anybody may send one.
//
// Concurrency: all methods may be called from many goroutines. A mutex guards
// what is counted; it is not held while anything is asked, sent or written.
//
// Limits: domains of all days together, policies and kinds of failures of each,
// lines and octets of a policy; reports sent at once, of one pass, and that are
// remembered; reports of others, and octets of each.
//
// RFCs: 8460 (§3 who wants it, §4 reports, §5 how they are sent).
package tlsreport
