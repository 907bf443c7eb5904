// Package dkim keeps the keys that sign what users send, and knows what must
// be published of them.
//
// A key is of use only while its record is in the DNS, which somebody else
// serves: a message that is signed by a key that nobody can look up is worse
// off than one without a signature. So a new key first waits until it has been
// seen in the DNS, while the old one goes on; and an old key stays published
// for as long as mail that it has signed is under way.
//
// It stands apart from mail/mailauth, which signs, because keys are files with
// a life of their own, and because two callers need them: the host, which
// signs, and the command line, which makes and retires keys, without a host or
// beside one. Before it are cmd/breakwater and the host; behind it are
// mail/mailauth, which takes the keys that Active gives, and the resolver.
//
// A domain has a folder of its name, in it a file for each key, named after its
// selector, and keys.json with what is known of them. Keys come in pairs, RSA
// of 2,048 bits, which everybody verifies, and Ed25519, which is short (RFC
// 8463); a message is signed by both. Selectors are dated: r20261122,
// e20261122, so that it can be seen how old they are. A key that another program
// signed with is imported with the selector that it has.
//
// Invariants:
//   - A private key is written with mode 0600, is never logged, and leaves this
//     package only inside a mailauth.DKIMKey.
//   - Files are written whole or not at all, the key before what names it.
//   - A key signs only after it was seen published, or forced by the operator.
//     Of each kind one key signs: the newest of those.
//   - A file that cannot be read leaves what is known of its domain in place,
//     and touches no other domain.
//   - A key is never written over: a selector is used once.
//
// Concurrency: a Store may be used from many goroutines, and many Stores, also
// of other processes, on one folder: changes take its lock file.
//
// Limits: keys of a domain that are remembered, size of a file, length of a
// string of a record.
//
// RFCs: 6376 §3.6.1 (records), §3.6.2.2 (TXT), 8301 §3.2 (length of keys),
// 8463.
package dkim
