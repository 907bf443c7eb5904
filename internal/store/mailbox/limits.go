package mailbox

import "time"

const (
	// uidMax and sizeMax: UIDs are 32 bits (RFC 9051 §2.3.1.1), and sizes
	// that are told to IMAP4rev1 clients too (RFC 3501 §9, number).
	uidMax  = 1<<32 - 1
	sizeMax = 1<<32 - 1

	// firstKeyword and lastKeyword: bits of Flags above the five system
	// flags. 59 keywords a mailbox are more than any client was seen to use,
	// and keep a message's flags in one number.
	firstKeyword = 5
	lastKeyword  = 63
	// keywordsMax is how many keywords that makes for one mailbox.
	keywordsMax = lastKeyword - firstKeyword + 1

	// keywordBytesMax bounds a keyword's name: they are sent with every
	// FLAGS response.
	keywordBytesMax = 100

	// nameBytesMax, levelBytesMax and depthMax bound mailbox names: levels
	// become file names in exports, and LIST walks them.
	nameBytesMax  = 1_000
	levelBytesMax = 255
	depthMax      = 32

	// mailboxesMax is per account: all of them are in memory, at about 400
	// bytes each.
	mailboxesMax = 10_000

	// subscriptionsMax is per account, names without a mailbox included.
	subscriptionsMax = 20_000

	// opMessagesMax bounds the messages that one change names, so that its
	// record stays below the journal's limit for envelopes.
	opMessagesMax = 400_000

	// filingsMax bounds one delivery: RFC 5321 §4.5.3.1.8 asks for 100
	// recipients at least; aliases may multiply them.
	filingsMax = 10_000

	// appendMax bounds one MULTIAPPEND (RFC 3502): its bodies are open files
	// or up to 1 MB of memory each until the command ends.
	appendMax = 100

	// chunkBytes is the unit in which bodies are kept while they arrive, and
	// inlineMax how much of one is kept before it becomes a file of its own.
	chunkBytes = 64 << 10
	inlineMax  = 1 << 20

	// historyBytesMax bounds what is kept of a mailbox's expunged UIDs, for
	// QRESYNC; then the older half goes, and clients that come from before
	// are told all UIDs that are not there (RFC 7162 §3.2.7).
	historyBytesMax = 64 << 10

	// changesMax bounds the recent changes that an open mailbox remembers, so
	// that its sessions need not scan it.
	changesMax = 8_192

	// cachedEntriesMax and cachedListsMax bound the hot lists of mailboxes
	// that nobody has open, kept for the next SELECT: 40 bytes an entry.
	cachedEntriesMax = 400_000
	cachedListsMax   = 1_000

	// recentMax is of how many messages it is remembered where they lie: those
	// of a second at full speed, at 32 bytes each.
	recentMax = 4_096

	// summariesBatch is how many messages Summaries asks for at a time.
	summariesBatch = 1_000

	// retentionDefault is how long the body of an expunged message stays in
	// the journal: undelete is for everyone.
	retentionDefault = 14 * 24 * time.Hour
)
