package index

import "time"

const (
	// batchRecordsMax and batchTimeMax bound one transaction: large enough that
	// its fixed cost (a dozen pages) is shared, short enough that a reader at
	// the barrier waits no longer than a person notices.
	batchRecordsMax = 5_000
	batchTimeMax    = 200 * time.Millisecond

	// batchLinger is how long a record that nobody waits for may wait for
	// others to share its transaction. A lone delivery is still seen by an
	// IDLE client well under 100 ms after its 250.
	batchLinger = 20 * time.Millisecond

	// queuedRecordsMax is where back-pressure begins: about 50 MB of summaries
	// at worst typical sizes; then the journal's goroutine waits.
	queuedRecordsMax = 50_000

	// retryPause is the wait after a transaction failed for a reason that is
	// not the record's (a full disk): the index must come back by itself.
	retryPause = time.Second

	// readersMax bounds the reading connections: each costs up to its cache.
	readersMax = 8

	// writerCacheKB and readerCacheKB are SQLite page cache sizes in KB; they
	// fill only as they are used.
	writerCacheKB = 24 << 10
	readerCacheKB = 4 << 10

	// walPages is when the WAL is copied back: at 32 MB the pages that every
	// transaction touches are copied once for thousands of transactions.
	walPages = 8192

	// replayRecords is how many records are prepared in parallel at a time
	// while the index catches up with the journal.
	replayRecords = 2_000

	// setAsideMax bounds the table of records set aside; beyond it they are
	// still logged and counted.
	setAsideMax = 10_000
)
