// Package tlspolicy decides about TLS with the hosts that mail goes to: whether
// it must be used, and which certificates count. DANE and MTA-STS are how
// domains say so; without either, TLS is taken as it comes.
//
// It stands apart from spool/delivery, which connects and speaks, because a
// mistake here is silent: mail that anybody on the way can read, or that goes
// nowhere. Here it can be tested against every lie of a certificate and every
// failure of the DNS, without a queue or a dialogue.
//
// Flow: delivery asks for a domain's Decision with what the question for MX
// records brought, then for the Policy of each host that it is about to use,
// and does the handshake with the policy's Config. What became of it is a
// Session, which goes to spool/tlsreport. Below are base/dns, and HTTPS over a
// dial function that the host hands in.
//
// Invariants:
//
//   - Where DNSSEC vouches for a host's addresses and TLSA records cannot be
//     asked for, the host is not used: who keeps answers from us cannot take
//     TLS away. TLSA records that are not vouched for do not count.
//   - DANE is never overridden by MTA-STS, which is never overridden by a
//     policy that could not be fetched.
//   - A policy that is remembered applies until its max_age is over, whatever
//     the DNS says meanwhile, and outlives the process.
//   - Strangers' names lead to public addresses only, and the address that was
//     judged is the one that is dialled; nothing is redirected.
//   - A policy that is tested, or waived by a message, never keeps mail back,
//     nor hides its failures.
//
// Concurrency: all methods may be called from many goroutines. A mutex guards
// what is remembered; it is not held while anything is asked. Of one domain
// there is one fetch at a time, for which all wait.
//
// Limits: TLSA records and octets of each, certificates of a chain; octets,
// lines and hosts of an MTA-STS policy, policies and failures that are
// remembered and their octets, fetches at once and the time of each.
//
// RFCs: 6698, 7671 and 7672 (DANE), 8461 (MTA-STS), 7435 (opportunistic), 8689
// §4.2 (REQUIRETLS, TLS-Required), 8460 §4.3 (result types), 5280 and 6125
// (certificates).
package tlspolicy
