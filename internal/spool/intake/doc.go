// Package intake makes one record of an accepted message: it says at RCPT TO
// who can be delivered to, streams the body into the store behind the trace
// fields, and files it for all local recipients when it has ended.
//
// It stands apart from edge/session, which knows sockets and dialogue but no
// accounts, and from store/mailbox, which knows mailboxes but neither
// addresses nor SMTP. edge/session calls it through an interface of its own;
// it calls store/account to resolve and store/mailbox to file.
//
// The trace fields that we add (Return-Path, Received; RFC 5321 §4.4), and
// behind them those of Envelope.Headers, are a prefix of the body: the body is stored as it came, byte for byte,
// and written once whatever the number of recipients.
//
// Invariants. I1: Commit returns nil only after the journal said durable, and
// the session gives its 250 only then. I2: each account gets a message once,
// however many of its addresses were named. Accepted is delivered: everything
// that can refuse a recipient does so at RCPT TO or before the 250.
//
// Quota: a recipient is refused with 452 while all accounts that it leads to are
// over their quotas. A quota is a brake and no wall: the message that crosses
// the line is taken, and an alias goes on serving all its members while one of
// them is over, since the alternatives are to lose that one's copy in silence or
// to refuse everybody's. Only a message that is larger by itself than the quotas
// of all its recipients is refused for good.
//
// Concurrency: an Intake serves any number of sessions at once; a Body belongs
// to one.
//
// Faults: a full disk is 452 4.3.1; whatever else goes wrong in the store is no
// *smtp.Reply, so that the session answers 451 4.3.0 and logs the rest.
//
// Limits: accounts of one message (accountsMax), its size (Options), Received
// fields (receivedMax).
//
// RFCs: 5321 §4.4 (trace fields), §6.3 (loops), 3848 and 6531 §4.3 (the keyword
// after "with" comes from the dialogue), 3463 (enhanced codes), 5233 (details).
package intake
