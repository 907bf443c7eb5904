// Package mailauth tells whether mail is from where it says, and makes ours
// such that others can tell: SPF (RFC 7208), DKIM (RFC 6376), and SRS for mail
// that is forwarded. Its functions take bytes, keys and a resolver, and give a
// result with a trace of what they did.
//
// It stands apart because its input is hostile twice: a stranger chooses the
// message, the sender, HELO and the address it comes from, and so also the name
// servers whose answers are believed here. It has no doors to the world and no
// log; the only thing it can do is ask the Resolver that it is given.
//
// Flow: edge/policy and edge/greylist's pools ask CheckSPF and SPFNetworks
// with an address, HELO and MAIL FROM; spool/intake signs what our users send
// (SignDKIM, over a BodyHash that saw the octets as they came) with the keys of
// ops/dkim, and rewrites senders by an SRS; behind it is base/dns. VerifyDKIM,
// like CheckSPF, gives each step with its questions and their answers, for
// `breakwater explain`, `diagnose spf` and `diagnose dkim`.
//
// How SPF works: a record is parsed whole before any term is evaluated (RFC
// 7208 §4.6); evaluation is a recursion over include and redirect that shares
// its counters. How DKIM works: all bodies' hashes are made in one pass; then
// each signature is taken apart, its body hash compared, its key asked for.
//
// Invariants:
//   - Any input gives a result; what is no pass comes with its Problem.
//   - SPF's counters only grow during a check, whatever includes what.
//   - Nothing is asked but names of visible characters, with labels of 1 to 63
//     octets, at most 253 in all. What cannot be asked does not exist.
//   - A field made here holds no control character but its own line breaks.
//   - A signature says nothing of octets that it does not cover: with l= and
//     more behind it is no pass. One of ours covers all, and one more From.
//   - Reverse takes only what Forward has made with a secret of ours.
//
// Concurrency: functions, and an SRS that does not change; a BodyHash is its
// caller's alone.
//
// Limits: of SPF 10 terms that ask, 2 of them in vain, 10 names of an MX or
// PTR, records and expansions of 8 KB, 100 steps, 1,000 networks; of DKIM 10
// signatures, headers of 1 MB, 500 names in h=, RSA of 1,024 to 8,192 bits,
// and to sign 2,048; 20 seconds each. A rewritten sender lives 21 days and has
// 64 octets.
//
// Choices: a name that cannot be asked makes a term that does not match, not
// an error (RFC 7208 §4.8). A local part that is not ASCII never matches (RFC
// 8616 §4). The SPF record type is not asked for. Where several key records
// are at one name, the first four are tried (RFC 6376 §6.1.2).
//
// RFCs: 7208, 6376, 8301 (no SHA-1, length of keys), 8463 (Ed25519), 8601
// §2.7.1 (results), 8616 (international addresses).
package mailauth
