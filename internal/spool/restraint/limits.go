package restraint

import "time"

// Limits, and why.
const (
	// hourDefault and dayDefault bound what an account sends: ten times what
	// busy people do, and a club's newsletter.
	hourDefault = 500
	dayDefault  = 2000

	// strangersBase is how many new people somebody may write to in one go: an
	// invitation, a new account's first days. Half of what a thief may at most
	// get out (200), since the store fills up again meanwhile.
	strangersBase = 100
	// strangersMore is what those who know many people may exceed that by, one
	// for each strangersPart that they know.
	strangersMore = 50
	strangersPart = 10
	// refillBase is what the store gets back in a day at least; more than it
	// an ordinary person hardly meets for weeks on end.
	refillBase = 10
	// refillTimes the usual number of strangers a day is what it gets back if
	// that is more: growth by itself must not hold anybody.
	refillTimes = 2
	// refillMost keeps the product of refill and a day's seconds within an int64.
	refillMost = 100_000
	// networksPart of the store is left to who comes from many networks, and
	// bouncePart to whose mail bounces a good deal.
	networksPart = 4
	bouncePart   = 2

	// settledMin people whom it has written to for a week or two show what
	// list an account is for.
	settledMin = 200

	// floodMessages to people whom the account did not know the day before are
	// more than anybody writes in an hour.
	floodMessages = 150
	// floodTimes the usual hour is a flood if that is more.
	floodTimes = 4

	// networksFree different networks in an hour are a telephone, a home, an
	// office and the train between; networksTimes what is usual come on top.
	networksFree  = 5
	networksTimes = 2
	networksMax   = 64 // remembered of one account: beyond it more means no more

	// resultsMax of the last results count, if bounces are bounceShare-th of
	// them and at least bounceHold: lists that people keep bounce at a tenth.
	resultsMax  = 64
	bounceHold  = 20
	bounceShare = 3
	// bounceNote-th of at least resultsNote results make the store smaller.
	bounceNote  = 4
	resultsNote = 10
	// resultsKeep is how long results count after the last one.
	resultsKeep = 7 * 24 * time.Hour

	// dayShare and hourShare are the weight of the newest day and active hour
	// in what is usual: about two weeks, and three days of work.
	dayShare  = 14
	hourShare = 24
	// idleDaysMax is how many idle days are reckoned one by one; after more
	// nothing is usual any more.
	idleDaysMax = 365

	// burstGap without a recipient ends a burst, as the reason tells it.
	burstGap = 30 * time.Minute

	// knownMax bounds the people that one account is known to write to: ten
	// times what a busy person does, and a club.
	knownMax = 4096
	// accountsDefault and namesDefault bound the memory: 12 MB and 16 MB.
	accountsDefault = 20_000
	namesDefault    = 2_000_000
	// accountsMost and namesMost bound the options, and what is read.
	accountsMost = 1_000_000
	namesMost    = 20_000_000

	saveEvery = time.Minute
)
