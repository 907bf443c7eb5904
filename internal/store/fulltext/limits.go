package fulltext

import "time"

const (
	// textMax bounds the octets of text read of one message. What is longer
	// holds most trigrams anyway and is passed over.
	textMax = 1 << 20

	// wantedMax bounds the messages that wait to be indexed, 8 octets each. What
	// finds no room is wanted again by the next search.
	wantedMax = 1 << 17

	// askedMax bounds the LSNs that one lookup of gone messages names.
	askedMax = 4096

	// gramsMax bounds the trigrams that a needle is looked up by: each is one
	// list to walk, and more than this hardly leave out any more messages.
	gramsMax = 16

	// rowsFactor and rowsSpare bound the rows that a lookup passes over which
	// lie in other mailboxes: beyond so many times the messages asked about,
	// and some, the rest are candidates.
	rowsFactor = 16
	rowsSpare  = 2_000

	// batchMax is how many messages one transaction indexes: enough that its
	// lists are long, few enough to lose when the program is killed.
	batchMax = 500

	// workMax is the longest stretch of work before a rest, and restFactor how
	// many times longer the rest is: the worker takes a quarter of one core.
	workMax    = 20 * time.Millisecond
	restFactor = 3

	// lingerWait lets the search that wanted the messages end first.
	lingerWait = 2 * time.Second

	// faultWait is the rest after the disk failed or was found full.
	faultWait = time.Minute

	// sweepEvery is how long messages that are gone stay in the tables.
	sweepEvery = 6 * time.Hour

	// freeMin is the room on the disk that is left to the mail.
	freeMin = 1 << 30

	// readersMax bounds the connections that look up, each with a page cache of
	// readerCacheKB; the worker's has workerCacheKB. They fill as they are used.
	readersMax    = 4
	readerCacheKB = 2 << 10
	workerCacheKB = 8 << 10

	// hashOctets is what FTS5 gathers in memory before it writes a segment.
	hashOctets = 8 << 20

	// blocksMax bounds the blocks of 512 LSNs of which is kept in memory which
	// are indexed: 128 octets each, 13 MB.
	blocksMax = 100_000
)
