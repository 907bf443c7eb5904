// Package mailbox keeps mailboxes and messages as a view of the journal.
package mailbox
