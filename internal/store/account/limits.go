package account

import "time"

// Limits, and why.
const (
	// maxTargets bounds the targets of one alias; longer lists are mailing
	// lists and want a list manager.
	maxTargets = 200
	// maxDepth bounds a chain of aliases: nobody means more than ten.
	maxDepth = 10
	// maxExpansion bounds the steps of one resolution, so that aliases of
	// aliases cannot turn one RCPT TO into much work.
	maxExpansion = 1000
	// maxForwards bounds the targets of one account's forward: a person's own
	// other addresses, and a few colleagues.
	maxForwards = 20
	// maxGrants bounds what one account may send as: shared addresses.
	maxGrants = 200
	// maxSend keeps a limit's sums within an int.
	maxSend = 1_000_000_000
	// maxReason bounds the octets of a hold's reason: a long sentence.
	maxReason = 500

	// maxAppPasswords bounds those of one account, each of which a login may
	// have to try: a person's devices. 50 take 50 µs.
	maxAppPasswords = 50
	maxAppName      = 64 // octets: what a row of a table shows
	// An app password has 20 letters of 5 bits in groups of 4: 100 bits are
	// out of reach of guessing, and can still be typed on a telephone.
	appLetters = 20
	appGroup   = 4
	appBytes   = (appLetters*5 + 7) / 8
	// usedEvery is how often one password's last use is written at most, so
	// that a client that logs in every minute does not fill the journal.
	usedEvery = time.Hour
	usedLook  = time.Minute // between looks at what is to be written
	// usesAtOnce bounds one record of uses: 100 KB.
	usesAtOnce = 2000
	// lastWriteWait bounds the wait for the last record at the end.
	lastWriteWait = 5 * time.Second

	// maxQuota keeps sums of quotas and sizes within int64.
	maxQuota = 1 << 60

	// Argon2id for new passwords: RFC 9106's shape with parameters that fit
	// three times into hashMemoryKiB. 25 to 60 ms of one core.
	argonMemoryKiB = 19 << 10
	argonTime      = 2
	argonThreads   = 1
	// hashMemoryKiB bounds the memory of all hashing together.
	hashMemoryKiB = 64 << 10
	// maxHashWaiting bounds the logins that wait for that memory: on two cores
	// the last one waits 3 to 8 s; more are ErrBusy.
	maxHashWaiting = 256
	// A PHC string with figures beyond these is not hashed: a record cannot
	// make a login cost minutes.
	maxArgonTime    = 20
	maxArgonThreads = 16

	saltBytes = 16 // RFC 9106 §3.1 recommends 16 octets
	hashBytes = 32

	// defaultScramIterations: RFC 7677 §4 wants at least 4096; the client
	// pays, 65,536 are 10 to 30 ms for it at each login.
	defaultScramIterations = 65536

	// cacheEntries and cacheTTL bound the memory of successful logins: a
	// client that logs in for every fetch is hashed once in cacheTTL.
	cacheEntries = 8192
	cacheTTL     = 5 * time.Minute
	// loginRetries: how often a login starts again because the password was
	// changed while it was being checked.
	loginRetries = 3
)
