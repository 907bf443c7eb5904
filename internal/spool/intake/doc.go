// Package intake makes one record of an accepted message: it says at RCPT TO
// who can be sent to, streams the body into the store behind the trace fields,
// files it for those who are here, and notes the fate of every recipient.
//
// It stands apart from edge/session, which knows sockets and dialogue but no
// accounts, and from store/mailbox, which knows mailboxes but neither addresses
// nor SMTP. edge/session calls it through an interface of its own; it calls
// store/account to resolve and store/mailbox to file. spool/queue learns of the
// recipients that are elsewhere from the record, and posts reports here (Post).
//
// Where mail goes: an address leads to accounts, or through aliases and
// forwards to other hosts; then the sender is rewritten (SRS), unless it is
// ours or null. A stranger may write to our own domains and to senders that we
// rewrote ourselves, our users to everybody. A name that nobody has in a routed
// domain is an inner server's.
//
// The trace fields that we add (Return-Path, perhaps Delivered-To, Received;
// RFC 5321 §4.4), and those of Envelope.Headers, are a prefix of the body; the
// Return-Path stays here when it is sent on. A stranger's message is stored as it
// came. The header of a user's is held until its end and edited (author.go);
// its signature goes into the facts, not into the body.
//
// Invariants. I1: Commit and Post return nil only after the journal said durable.
// I2: each account and each address elsewhere gets a message once, however it
// was named. I3: filings and fates are in the same record, and so are the changes
// that a posted message tells of. A report of success is owed by the record that
// says of the success, until the record of the report itself (RunReceipts).
// Whatever can refuse a recipient does so at RCPT TO or before the 250. What an
// address of ours has forwarded it does not forward again (Delivered-To);
// nobody's only copy goes with that.
//
// Quota: a recipient is refused with 452 while all accounts that it leads to are
// over their quotas. A quota is a brake and no wall: the message that crosses
// the line is taken, and an alias goes on serving all its members while one of
// them is over. Only a message that is larger by itself than the quotas of all
// its recipients is refused for good. What the host posts is not refused at all.
//
// Concurrency: an Intake serves any number of sessions at once; a Body belongs
// to one.
//
// Faults: a full disk or queue is 452 4.3.1; whatever else goes wrong in the
// store is no *smtp.Reply: the session answers 451 4.3.0 and logs the rest.
//
// Limits: accounts of one message (accountsMax), its size (Options), Received
// fields (receivedMax), a user's header (headerOctetsMax, headerFieldsMax,
// authorsMax), facts (factsOctetsMax).
//
// RFCs: 5321 §4.4 (trace fields), §6.3 (loops), 6409 §6 and §8 (submission),
// 5322 §3.6 (fields), 9228 (Delivered-To), 3461 §5.2 (success reports), 8689
// §4.1 (REQUIRETLS, TLS-Required), 3848 and 6531 §4.3 (the keyword after "with" comes from the
// dialogue), 3463 (enhanced codes), 5233 (details).
package intake
