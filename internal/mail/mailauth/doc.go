// Package mailauth tells whether mail is from where it says: SPF (RFC 7208).
// Its functions take bytes and a resolver, and give a result with a trace of
// what they did.
//
// It stands apart because its input is hostile twice: a stranger chooses the
// sender, HELO and the address it comes from, and so also the name servers
// whose answers are believed here. It has no doors to the world, no log and no
// clock; the only thing it can do is ask the Resolver that it is given.
//
// Flow: before it are edge/policy and edge/greylist's pools (through the
// policy), which have an address, HELO and MAIL FROM; behind it is base/dns.
// CheckSPF gives an SPF: the result, what decided it, the domain's own
// explanation, and one SPFStep for each term with the questions it asked and
// the answers, for `breakwater explain` and `breakwater diagnose spf`.
// SPFNetworks lists the networks that a domain's record lets send, without a
// client to check: they make one pool of the hosts of a large sender.
//
// How it works: a record is parsed whole before any term is evaluated, so that
// an error anywhere in it is found (RFC 7208 §4.6); macro strings are parsed
// with it and only expanded later. Evaluation is a recursion over include and
// redirect that shares its counters. An error is a value with the result that
// it means, TempError or PermError.
//
// Invariants:
//   - Any input gives one of the seven results; PermError and TempError come
//     with the Problem in words, None too.
//   - Counters only grow during a check, whatever includes what.
//   - Nothing that is asked is other than a name of visible characters and
//     spaces, with labels of 1 to 63 octets, at most 253 in all. What cannot
//     be asked does not exist.
//   - An explanation is visible ASCII on one line: it can go into a reply.
//   - A header field made of a result holds no control character but its
//     own line breaks.
//
// Concurrency: functions only; all state is that of one call.
//
// Limits: 10 terms that ask the DNS, 2 of them in vain, 10 names of an MX or
// PTR, 20 seconds, records of 8 KB, macro strings that expand to 8 KB, 100
// steps and 16 answers of each question in the trace, 1,000 networks.
//
// Choices: a name that cannot be asked, such as one with an empty label, makes
// a term that does not match, not an error (RFC 7208 §4.8 leaves it open). A
// local part that is not ASCII never matches (RFC 8616 §4). The obsolete SPF
// record type is not asked for.
//
// RFCs: 7208, 8616 (§4, addresses with SMTPUTF8).
package mailauth
