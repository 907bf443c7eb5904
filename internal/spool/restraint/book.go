package restraint

import (
	"math/bits"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// book is what is known of one account's sending.
type book struct {
	id   account.ID
	last int64 // when it was last used, in seconds; orders the books

	hours     window // recipients in the last hour, in steps of five minutes
	days      window // and in the last day, in steps of an hour
	weeks     window // and in the last week, in steps of a day
	strangers window // of those, whom it had never written to
	fresh     window // messages in the last hour to strangers of today

	known    known  // whom it writes to
	heard    known  // who wrote to it lately
	answered window // of the week's recipients, those who had written first

	// burst is what came without a pause, beforeHour what was usual when it
	// began.
	burst      run
	beforeHour int64

	// What is usual: averages that favour what is new, in millionths.
	began        bool
	day          int64 // the day that today counts, since 1970
	hour         int64 // the hour that thisHour counts
	today        counts
	thisHour     counts
	usualDay     mean // recipients
	usualHour    mean // recipients in an hour in which there were any
	usualFresh   mean // messages to strangers in such an hour
	strangersDay mean // strangers a day
	usualNets    mean // most networks in an hour of a day

	// settled is what was so a week or two ago, settling at the last turn of a
	// week.
	week              int64
	settled, settling past

	results results
	nets    []visit

	prev, next *book // by last use
}

// past is how many people an account knew, and the recipients that were usual
// for it in a day.
type past struct{ known, day int64 }

// counts are those of one day or hour.
type counts struct{ recipients, strangers, fresh, nets int64 }

// run is a stretch of sending.
type run struct {
	since, last           int64 // seconds since 1970; 0: none
	recipients, strangers int64
}

// unit is one of a figure that is kept in millionths.
const unit = 1_000_000

// mean is an average that favours what is new, in millionths.
type mean struct {
	of int64
	n  int64 // values seen, as far as that matters
}

// add brings in a value of weight one share-th. In a cautious mean that is so
// from the beginning, as if nothing had come before; another starts as a plain
// average.
func (m *mean) add(v, share int64, cautious bool) {
	m.n = min(m.n+1, share)
	w := m.n
	if cautious {
		w = share
	}
	m.of += (v*unit - m.of) / w
}

// round is the mean as people are told it: never 0 if there is anything.
func (m mean) round() int64 { return (m.of + unit - 1) / unit }

// advance brings the book to a time. A clock that is set back changes nothing.
func (b *book) advance(now time.Time) {
	t := max(now.Unix(), 1)
	if !b.began {
		b.began, b.day, b.hour, b.week = true, t/daySeconds, t/3600, t/daySeconds/7
	}
	b.turnHour(t / 3600)
	b.turnDay(t / daySeconds)
	b.turnWeek(t / daySeconds / 7)
}

func (b *book) turnHour(hour int64) {
	if hour <= b.hour {
		return
	}
	if b.thisHour.recipients > 0 {
		b.usualHour.add(b.thisHour.recipients, hourShare, false)
		b.usualFresh.add(b.thisHour.fresh, hourShare, true)
	}
	b.hour, b.thisHour = hour, counts{}
}

func (b *book) turnDay(day int64) {
	if day-b.day > idleDaysMax {
		b.usualDay, b.strangersDay, b.usualNets = mean{}, mean{}, mean{}
		b.day, b.today = day, counts{}
	}
	for ; b.day < day; b.day++ {
		b.usualDay.add(b.today.recipients, dayShare, false)
		b.strangersDay.add(b.today.strangers, dayShare, true)
		b.usualNets.add(b.today.nets, dayShare, true)
		b.today = counts{}
	}
}

func (b *book) turnWeek(week int64) {
	now := past{known: int64(len(b.known)), day: b.usualDay.round()}
	switch {
	case week <= b.week:
		return
	case week == b.week+1:
		b.settled = b.settling
	default:
		b.settled = now
	}
	b.week, b.settling = week, now
}

// count notes a recipient that was allowed.
func (b *book) count(now time.Time, stranger bool) {
	t := now.Unix()
	b.hours.add(now, 1)
	b.days.add(now, 1)
	b.weeks.add(now, 1)
	b.today.recipients++
	b.thisHour.recipients++
	if stranger {
		b.today.strangers++
		b.strangers.add(now, 1)
	}
	if b.burst.last != 0 && t-b.burst.last > int64(burstGap/time.Second) {
		b.burst = run{}
	}
	if b.burst.last == 0 {
		b.beforeHour = b.usualHour.round()
	}
	b.burst.add(t, stranger)
}

func (r *run) add(t int64, stranger bool) {
	if r.since == 0 {
		r.since = t
	}
	r.last = t
	r.recipients++
	if stranger {
		r.strangers++
	}
}

// forgive forgets what could hold the account again for what it has done.
func (b *book) forgive() {
	b.strangers, b.answered = window{period: weekly}, window{period: weekly}
	b.fresh, b.burst = window{}, run{}
	b.results = results{}
	for i := range b.nets {
		b.nets[i].at = 0 // it is known there, and was not there lately
	}
	b.known.settle()
	b.settled.known, b.settling.known = 0, 0
}

// visit is a network that the account's mail came from.
type visit struct {
	network uint32
	at      int64 // the last time, in seconds
	since   int64 // the first time
}

// from notes a network, and tells since when the account has used it.
func (b *book) from(network uint32, now time.Time) (since int64) {
	t := max(now.Unix(), 0)
	i := slices.IndexFunc(b.nets, func(v visit) bool { return v.network == network })
	switch {
	case i >= 0:
		b.nets[i].at = t
	case len(b.nets) < networksMax:
		b.nets = append(b.nets, visit{network, t, t})
		i = len(b.nets) - 1
	default:
		i = 0
		for k := range b.nets {
			if b.nets[k].at < b.nets[i].at {
				i = k
			}
		}
		b.nets[i] = visit{network, t, t}
	}
	b.today.nets = max(b.today.nets, int64(b.networksNow(now)))
	return b.nets[i].since
}

// networksNow is how many networks the account's mail came from in the last
// hour.
func (b *book) networksNow(now time.Time) int {
	n := 0
	for _, v := range b.nets {
		if v.at > now.Unix()-3600 {
			n++
		}
	}
	return n
}

// results are the last ends of what the account sent, a bit each: 1 is a
// bounce.
type results struct {
	ring uint64
	n    int   // at most resultsMax
	at   int64 // of the last, in seconds
}

func (r *results) add(now time.Time, bounced bool) {
	if n, _ := r.count(now); n == 0 {
		*r = results{}
	}
	r.ring <<= 1
	if bounced {
		r.ring |= 1
	}
	r.n, r.at = min(r.n+1, resultsMax), now.Unix()
}

// count tells how many results there are, and how many of them are bounces.
func (r *results) count(now time.Time) (n, bounced int) {
	if now.Unix()-r.at > int64(resultsKeep/time.Second) {
		return 0, 0
	}
	return r.n, bits.OnesCount64(r.ring)
}
