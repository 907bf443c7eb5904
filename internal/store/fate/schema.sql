-- What became of accepted mail. Every row follows from the journal's records;
-- docs/formats/index.md explains the columns.

-- One row for each message; facts are as the record has them.
CREATE TABLE fate_messages (
	lsn INTEGER PRIMARY KEY,
	received INTEGER NOT NULL,
	account INTEGER NOT NULL,
	source INTEGER NOT NULL,
	accepted INTEGER NOT NULL,
	delivered INTEGER NOT NULL,
	relayed INTEGER NOT NULL,
	bounced INTEGER NOT NULL,
	discarded INTEGER NOT NULL,
	set_aside INTEGER NOT NULL,
	queued INTEGER NOT NULL,
	facts BLOB NOT NULL
);

-- For sums of parts of a day, which are read from this alone.
CREATE INDEX fate_sums ON fate_messages (
	received, account, source, accepted, delivered, relayed, bounced, discarded, set_aside, queued
);

-- The same added up, for sums of whole days (UTC).
CREATE TABLE fate_days (
	day INTEGER NOT NULL,
	account INTEGER NOT NULL,
	source INTEGER NOT NULL,
	messages INTEGER NOT NULL,
	accepted INTEGER NOT NULL,
	delivered INTEGER NOT NULL,
	relayed INTEGER NOT NULL,
	bounced INTEGER NOT NULL,
	discarded INTEGER NOT NULL,
	set_aside INTEGER NOT NULL,
	queued INTEGER NOT NULL,
	PRIMARY KEY (day, account, source)
) WITHOUT ROWID;

-- Messages of which the facts cannot be read: nobody knows for whom they are.
CREATE TABLE fate_unread (
	lsn INTEGER PRIMARY KEY
);

-- Recipients that have not ended.
CREATE TABLE fate_open (
	lsn INTEGER NOT NULL,
	place INTEGER NOT NULL,
	state INTEGER NOT NULL,
	due INTEGER NOT NULL,
	received INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	warned INTEGER NOT NULL,
	account INTEGER NOT NULL,
	domain TEXT NOT NULL,
	route TEXT NOT NULL,
	changed INTEGER NOT NULL,
	last INTEGER NOT NULL,
	events BLOB NOT NULL,
	PRIMARY KEY (lsn, place)
) WITHOUT ROWID;

-- Recipients that have ended after they had been open.
CREATE TABLE fate_ended (
	lsn INTEGER NOT NULL,
	place INTEGER NOT NULL,
	state INTEGER NOT NULL,
	changed INTEGER NOT NULL,
	standing BLOB NOT NULL,
	PRIMARY KEY (lsn, place)
) WITHOUT ROWID;

-- Reports of success that senders are still to get.
CREATE TABLE fate_owed (
	lsn INTEGER NOT NULL,
	place INTEGER NOT NULL,
	success INTEGER NOT NULL,
	PRIMARY KEY (lsn, place)
) WITHOUT ROWID;

-- Which messages of a block of LSNs have a name: sorted keys of 4 octets.
CREATE TABLE fate_names (
	block INTEGER PRIMARY KEY,
	keys BLOB NOT NULL
);

-- Up to where books have been purged: one row, or none.
CREATE TABLE fate_purged (
	id INTEGER PRIMARY KEY,
	floor INTEGER NOT NULL
);
