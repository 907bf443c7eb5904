package restraint

import "time"

// Limits, and why.
const (
	// hourDefault and dayDefault bound what an account sends: ten times what
	// busy people do, and a club's newsletter.
	hourDefault = 500
	dayDefault  = 2000

	// strangersBase is how many new people an account may write to in a week:
	// a large invitation, the first days of a new account. A thief gets out no
	// more than the account may, at once or slowly, and that shall be less than
	// 200 even where some are usual.
	strangersBase = 120
	// strangersMore is what those who know many people may exceed that by, one
	// for each strangersPart that they know.
	strangersMore = 40
	strangersPart = 5
	// strangersTimes the usual week is what may be if that is more: growth by
	// itself holds nobody. What is usual is a mean of about two weeks, whose
	// double a thief who begins cannot raise above what he has sent himself.
	strangersTimes = 2
	// heardMax bounds those who wrote to an account lately and are no
	// strangers when they are answered: some weeks of a support desk.
	heardMax = 512
	// answersTimes as many as strangers may be answered in a week: those who
	// wrote first are known to have, but a thief may have people of his own.
	answersTimes = 4
	// networksPart of that is left to who comes from many networks, and
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

	// siteTimes what one account may send is what all of them may from one
	// network: an office where everybody is busy at once.
	siteTimes = 10
	// sitesMax bounds the networks that are remembered at a time: 6 MB.
	sitesMax = 10_000
	// newFor is how long an account is new on a network.
	newFor = 12 * time.Hour
	// crowdAccounts that are new on a network and write to crowdStrangers each
	// from there within a day are no chance: in an office people write to one
	// or two new ones a day.
	crowdAccounts  = 5
	crowdStrangers = 5
	// newcomersMax are remembered of one network: a crowd is one long before.
	newcomersMax = 100
	// learnFor is how long accounts without a past are not taken for newcomers:
	// when the memory has just begun nobody has one.
	learnFor = 14 * 24 * time.Hour

	// resultsMax of the last results count, if bounces are bounceShare-th of
	// them and at least bounceHold: lists that people keep bounce at a tenth.
	resultsMax  = 64
	bounceHold  = 20
	bounceShare = 3
	// bounceNote-th of at least resultsNote results leave less to strangers.
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
