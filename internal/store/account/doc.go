// Package account keeps who is at home here: domains, accounts, aliases,
// catch-alls, forwards, passwords, limits, and who may send as whom or not at
// all.
//
// It is apart from store/mailbox because the edge needs it without any mail
// (which recipients exist, whose password is this), and because a recipient
// check at RCPT TO must cost microseconds, whatever the mailboxes are doing.
//
// Flow: edge/session and access/* log in through the sasl.Backend that For
// makes for each service; spool/intake turns recipients into accounts and
// addresses elsewhere with Resolve, and asks MaySend; spool/restraint has
// accounts held, and OnHold tells whoever must know; the admin socket calls
// the rest. Every change is one Batch record in the
// journal; Store is an index.View that applies it to SQLite, from where the
// directory in memory is filled at the start (Attach) and kept right by
// Committed. docs/formats/account-records.md has the records.
//
// Invariants:
//
//   - Records state facts. Whether a change is allowed (is the address free,
//     is the domain empty) is decided before it is appended, by one writer at
//     a time who sees all earlier changes applied: replay decides nothing, so
//     the same journal always gives the same accounts (I6), even if some
//     record of it is damaged.
//   - An ID is never given out twice, not even after its account is gone.
//   - When SetPassword, RemoveAppPassword, SetDisabled or RemoveAccount has
//     returned, nothing that rests on the old state lets anybody in: not the
//     hash, not the SCRAM verifier, not the cache of logins, not a login that
//     was under way. Sessions that are open find out by Current.
//   - A wrong password is ErrCredentials; any other error means that nobody
//     knows. Unknown users cost the same work as known ones.
//   - A hold ends by Release or a new password, by nothing else.
//   - postmaster at any of our domains reaches somebody as long as there is
//     an enabled administrator (RFC 5321 §4.5.1).
//
// Addresses: local parts are compared in NFC and lower case, domains are in
// A-label form. What follows the first "+" is a detail (RFC 5233) and reaches
// the account or alias before it, unless the whole is itself an alias.
//
// Concurrency: all methods may be called at any time. mu guards the
// directory; readers share it, Committed alone writes. Changes queue for
// writer. Run, which the host starts, writes when app passwords were used. Password hashing is bounded by memory (hashMemoryKiB in all).
//
// Limits: limits.go.
//
// RFCs: 5321 §4.5.1 (postmaster), 5233 (sub-addresses), 9106 (Argon2), 5802
// and 7677 (SCRAM), 4013 (SASLprep).
package account
