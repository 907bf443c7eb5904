package queue

import (
	"io"
	"log/slog"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Options of a queue. The zero value of each field means its default.
type Options struct {
	Log      *slog.Logger   // nil discards
	Clock    sys.Clock      // default the real one
	Rand     io.Reader      // of the jitter's seed and the ids of reports; default sys.Rand
	Metrics  *Metrics       // nil counts for nobody
	Hostname message.Domain // of this host, in reports
	Bodies   Bodies         // nil: reports return nothing of the message
	Router   Router         // nil: the operator's next hop, else the domain

	// Max is how many open recipients there may be before Room says no;
	// default 2,000,000.
	Max int
	// Workers is how many attempts may be under way; default 400.
	Workers int
	// PerDestination is how many of them for one destination; default 20.
	PerDestination int

	// Schedule is how long a recipient waits after each attempt that was put
	// off; the last one is repeated. RFC 5321 §4.5.4.1 asks for half an hour
	// at least as a rule, and for two attempts in the first hour; the default
	// begins with 5, 10 and 20 minutes for the sake of greylisting.
	Schedule []time.Duration
	// Expire is after how long a recipient is given up; default five days
	// (RFC 5321 §4.5.4.1: four to five at least).
	Expire time.Duration
	// Warn is after how long the sender is told of the delay; default four
	// hours, negative never.
	Warn time.Duration
	// Backoff is how long a destination that is down is left alone at first;
	// doubled with each attempt that finds it so, up to BackoffMax. Defaults
	// one minute, 30 minutes.
	Backoff, BackoffMax time.Duration
	// Grace is how long attempts may go on when the queue is to end; default
	// 20 s.
	Grace time.Duration

	pause time.Duration // pauseMin, or what a test wants
}

const (
	maxDefault            = 2_000_000 // open recipients: 110 MB, see docs/operations/queue.md
	workersMaxDefault     = 400       // attempts: some 100 KB each with TLS
	perDestinationDefault = 20        // attempts at one destination: more looks like an attack to many

	// jobMax is how many recipients one attempt takes: what every server has
	// to accept (RFC 5321 §4.5.3.1.8).
	jobMax = 100
	// reportMax is how many recipients one report tells of.
	reportMax = 1000
	// startLimit is how many attempts a destination that is not known yet
	// gets, restartLimit one that has just come back.
	startLimit   = 5
	restartLimit = 2
	// pauseMin is how long a destination that is busy is left alone when it
	// had one attempt at a time; doubled each time, up to pauseMax. That is
	// short: the first answer that is better ends it, and has to be met.
	pauseMin = time.Second
	pauseMax = 15 * time.Second
	// resumeMax is how long what was tried in an earlier run of this host waits
	// at most after the next attempt: how often its destination was down then is
	// not in the books, and such attempts are not to count. RFC 5321 §4.5.4.1
	// asks for no more than half an hour.
	resumeMax = 30 * time.Minute
	// retryAfterMax bounds what an attempt says when the next one should be.
	retryAfterMax = 24 * time.Hour
	// idleKeep is how long is remembered how a destination was.
	idleKeep = 10 * time.Minute

	// kinWindow is how long before another a destination may have been lost
	// for both to have one cause: as long as attempts take to fail.
	kinWindow = 5 * time.Minute
	// kinGap is the time between the attempts at them, kinSpread the most
	// that all take, kinPause how often this happens at most.
	kinGap    = 50 * time.Millisecond
	kinSpread = 2 * time.Minute
	kinPause  = 15 * time.Second
	// scoutWindow is for how long a destination that is down is tried out of
	// turn, scoutMin how many lost in that time make it seem that a network
	// is away, scoutMax how many are looked at.
	scoutWindow = 6 * time.Hour
	scoutMin    = 3
	scoutMax    = 64

	// sweepPause is between two looks at the age of everything: so late may a
	// warning be. A look is cut into pieces of sweepSlots, a millisecond each,
	// with sweepNext between them.
	sweepPause = time.Minute
	sweepSlots = 1 << 16
	sweepNext  = 5 * time.Millisecond
	// untriedGrace is how long one that is old enough to be given up waits for
	// an attempt when it was released, or has never had one.
	untriedGrace = 24 * time.Hour
	// absence is after how long without a step this host has been away, asleep,
	// or its clock was put ahead: there is a step every idleMax. For
	// absenceGrace after that, and after the start, nothing is given up: what
	// has grown old meanwhile is to be tried first.
	absence      = 2 * idleMax
	absenceGrace = time.Hour
	// clockSlack is what the clock may be set back without being noticed.
	clockSlack = 2 * time.Second
	// sweepTasks is how many reports of age are under way, sweepWait how long
	// is waited for room: 500 a second, so that a million late recipients are
	// told of within some half an hour, and attempts have most of the journal.
	sweepTasks = 32
	sweepWait  = 64 * time.Millisecond
	// sweepRest is how long nobody is told of age after a report could not be
	// made: the disk may be full.
	sweepRest = time.Second
)

// schedule is the default of Options.Schedule.
func schedule() []time.Duration {
	return []time.Duration{
		5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour,
	}
}

func (o Options) defaults() Options {
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Router == nil {
		o.Router = byDomain
	}
	o.Max = positive(o.Max, maxDefault)
	o.Workers = positive(o.Workers, workersMaxDefault)
	o.PerDestination = positive(o.PerDestination, perDestinationDefault)
	if len(o.Schedule) == 0 {
		o.Schedule = schedule()
	}
	o.Expire = positive(o.Expire, 5*24*time.Hour)
	if o.Warn == 0 {
		o.Warn = 4 * time.Hour
	}
	o.Backoff = positive(o.Backoff, time.Minute)
	o.BackoffMax = max(positive(o.BackoffMax, 30*time.Minute), o.Backoff)
	o.Grace = positive(o.Grace, 20*time.Second)
	o.pause = positive(o.pause, pauseMin)
	return o
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}
