package fate

import "time"

const (
	// keepDefault is how long closed books are kept: users ask after mail
	// weeks later, and hardly ever after two months.
	keepDefault = 60 * 24 * time.Hour

	// eventsFirst and eventsLast bound what is remembered of one recipient:
	// how it began, and how it went of late.
	eventsFirst = 5
	eventsLast  = 20

	// textMax bounds the texts of an Event that have no limit of their own,
	// in octets: names of hosts, mailboxes, operators.
	textMax = 512

	// recipientsMax bounds the recipients that one Change names: as many as a
	// message may have after aliases were expanded.
	recipientsMax = 10_000

	// commitBytes is when Commit begins another record: a group of the
	// journal is 16 MiB, and a record should share it with others.
	commitBytes = 1 << 20

	// stateBytes is when a State envelope is full and another is begun, and
	// stateRecipients how many recipients one part of it has at most: with
	// all their events they take less than 4 MiB.
	stateBytes      = 256 << 10
	stateRecipients = 200

	// purgeMessages is how many messages one record drops: the index's writer
	// is held up for less than half a second.
	purgeMessages = 2_000
	// purgeKept bounds the messages that one record names since they stay,
	// at about 3 octets each.
	purgeKept = 10_000
	// purgeYoung is how many messages that are too young are passed over
	// before Purge ends: a clock that was wrong for a while does not stop it.
	purgeYoung = 1_000
	// purgeEvery is how often Run purges.
	purgeEvery = time.Hour

	// blockBits: fate_names has a row for 2^blockBits LSNs. What one
	// transaction rewrites of it is about 4 KB.
	blockBits = 8
	// blockKeys bounds the keys of one such row; beyond them it matches
	// everything.
	blockKeys = 65_536

	// findDefault and findMax bound what Trace gives.
	findDefault = 100
	findMax     = 100_000

	// recentBytes bounds the facts that a generation of recent has, in octets:
	// of some 2,000 messages, a second's worth.
	recentBytes = 1 << 20

	// unaccountedMax bounds the messages that Sums names.
	unaccountedMax = 1_000

	// owedMax bounds the reports of success that Owed gives at a time: those of
	// messages to many are given in parts.
	owedMax = 10_000

	// domainsMax bounds the names that Open keeps to share them.
	domainsMax = 100_000
)
