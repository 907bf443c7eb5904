// Package dns asks name servers, thousands of questions at a time: a stub
// resolver that speaks to a recursive resolver, or to the server of a list.
//
// It stands apart from the standard library's resolver because during a wave
// every stranger costs several questions: here one costs some microseconds,
// no goroutine and no descriptor, its answer comes as an event, and all of
// them are bounded. It also gives what the standard one hides: the response
// code, the TTL, what a resolver on this host vouches for, and whether a name
// is not there or nobody could say.
//
// Flow: edge/dnsbl asks with Ask and mail/mailauth with Lookup; the host makes
// the Client. Below are the sockets, one batch of packets a call. A machine
// without I/O keeps the questions; the shell around it sends what it wants
// sent and calls who is to be called.
//
// Invariants:
//
//   - The function of an Ask is called exactly once, whatever servers do.
//   - An answer is believed only if it comes from the server that was asked,
//     to the port that asked, with the id and the question of a try that is
//     still waited for. What is late or forged is counted and changes nothing.
//   - An answer that is malformed is none: the next try is made. A packet that
//     may be lost is sent once more as it is within each try.
//   - What is in flight is bounded; beyond it the answer is ErrBusy at once.
//     No server gets more packets in a moment than its buffer takes.
//   - No server is asked again that reported a failure of a question, and one
//     that does not answer is asked last, but for one question in ten seconds.
//   - Names in answers are lower case and printable ASCII; others are left out.
//   - What a server says of DNSSEC counts only if it is on this host, or the
//     operator trusts it (Options.TrustAD): nothing is validated here.
//
// Identical questions in flight share one packet, so that a forger gets no
// better odds by making us ask again and again.
//
// Concurrency: a Client may be used from many goroutines. Its mutex is held
// for the machine's steps only, never for I/O nor while callers are called. One
// goroutine sends, one reads each socket, a few at most do TCP. Answers share
// their slices.
//
// Limits: questions in flight and callers that wait (Options.InFlight), tries,
// servers, records and CNAMEs of an answer, tries over TCP, entries of the
// cache and the size of each.
//
// RFCs: 1035 (names, packets), 2181 §8 and 2308 §5 (TTLs), 4343 (case), 5452
// (forged answers), 5782 §2 (names in lists), 6698 §2.1 (TLSA), 6840 §5.7 (AD),
// 6890 (addresses of no use), 6891 (EDNS), 7766 (TCP).
package dns
