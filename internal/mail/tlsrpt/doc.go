// Package tlsrpt makes and reads SMTP TLS reports: what one host tells a domain
// about the TLS sessions that it had, or could not have, with the domain's mail
// exchangers in a day.
//
// It stands apart because a report is bytes to bytes: spool/tlsreport counts,
// decides when and whom to tell, and keeps what others tell us; here is only
// what a report is. It does no I/O, knows no time and asks nobody.
//
// Flow: before it is spool/tlsreport, in both directions. A Report is JSON in
// gzip, sent by HTTPS as it is, or in a message that Mail makes. ParseMessage
// finds it again in a message of another host. ParseRecord reads where a
// domain wants its reports.
//
// Invariants:
//
//   - Mail is pure: the same report gives the same octets, all of them 7-bit
//     in lines of at most 998.
//   - What is read may be anything: gzip that unpacks to more than a report has
//     is refused, lists are cut off at their bounds before they take memory,
//     and a text is one line of printable UTF-8 of bounded length.
//   - What senders write otherwise than the RFC says (a string for a list, a
//     number in quotes, a report that is not packed) is read all the same.
//   - A report's numbers are never negative.
//
// Concurrency: functions only.
//
// Limits: octets of a message, of a report packed and unpacked; policies of a
// report, failures of a policy, lines of a policy and octets of a text;
// addresses of a record.
//
// RFCs: 8460 (§3 the record, §4 the report, §5 its mail), 1952 (gzip), 6522
// (multipart/report), 8689 §3 (TLS-Required).
package tlsrpt
