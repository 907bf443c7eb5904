-- What the index has for mailboxes and messages. Every row follows from the
-- journal's records; docs/formats/index.md explains the columns.

-- present: 1 made by a record; 0 known only from messages filed there (the
-- record that made it was lost).
CREATE TABLE mailboxes (
	id INTEGER PRIMARY KEY,
	account INTEGER NOT NULL,
	name TEXT NOT NULL,
	use TEXT NOT NULL,
	present INTEGER NOT NULL,
	uidvalidity INTEGER NOT NULL,
	uidnext INTEGER NOT NULL,
	modseq INTEGER NOT NULL,
	keywords TEXT NOT NULL,
	messages INTEGER NOT NULL,
	unseen INTEGER NOT NULL,
	deleted INTEGER NOT NULL,
	size INTEGER NOT NULL,
	history_floor INTEGER NOT NULL,
	history_bytes INTEGER NOT NULL
);

CREATE TABLE subscriptions (
	account INTEGER NOT NULL,
	name TEXT NOT NULL,
	PRIMARY KEY (account, name)
) WITHOUT ROWID;

-- One row for each message in each mailbox; message is messages.lsn.
CREATE TABLE filings (
	mailbox INTEGER NOT NULL,
	uid INTEGER NOT NULL,
	modseq INTEGER NOT NULL,
	flags INTEGER NOT NULL,
	message INTEGER NOT NULL,
	size INTEGER NOT NULL,
	date INTEGER NOT NULL,
	PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;

-- One row for each Message record: where it lies and what it looks like.
CREATE TABLE messages (
	lsn INTEGER PRIMARY KEY,
	segment INTEGER NOT NULL,
	offset INTEGER NOT NULL,
	length INTEGER NOT NULL,
	large INTEGER NOT NULL,
	size INTEGER NOT NULL,
	summary BLOB
);

-- How many filings a message has, where that is not one. dead is when it was
-- filed nowhere any more, expired that its segment no longer counts it as live.
CREATE TABLE refs (
	lsn INTEGER PRIMARY KEY,
	refs INTEGER NOT NULL,
	dead INTEGER NOT NULL,
	expired INTEGER NOT NULL DEFAULT 0
);

-- What was expunged when, for QRESYNC: packed ranges of UIDs.
CREATE TABLE expunged (
	mailbox INTEGER NOT NULL,
	modseq INTEGER NOT NULL,
	uids BLOB NOT NULL,
	PRIMARY KEY (mailbox, modseq)
) WITHOUT ROWID;

-- Bytes of records in each segment that compaction would have to keep.
CREATE TABLE segments (
	id INTEGER PRIMARY KEY,
	live INTEGER NOT NULL
);

-- Numbers that are never given again.
CREATE TABLE floors (
	name TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) WITHOUT ROWID;
