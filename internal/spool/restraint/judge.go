package restraint

import (
	"fmt"
	"strconv"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// book returns the book of an account, brought to a time, and makes one if
// there is none.
func (r *Restraint) book(id account.ID, now time.Time) *book {
	b := r.books[id]
	if b == nil {
		b = newBook(id)
		r.books[id] = b
	} else {
		r.recent.remove(b)
	}
	r.recent.push(b)
	r.dirty = true
	b.last = now.Unix()
	b.advance(now)
	r.shrink()
	return b
}

func newBook(id account.ID) *book {
	return &book{id: id, days: window{period: daily}, weeks: window{period: weekly}, strangers: window{period: weekly},
		answered: window{period: weekly}}
}

// shrink forgets the accounts that have not sent for longest, but for the
// newest, until the rest is within the bounds.
func (r *Restraint) shrink() {
	for (len(r.books) > r.o.MaxAccounts || r.names > r.o.MaxKnown) && len(r.books) > 1 {
		old := r.recent.oldest
		r.recent.remove(old)
		delete(r.books, old.id)
		r.names -= len(old.known) + len(old.heard)
	}
	r.o.Metrics.accounts.Set(float64(len(r.books)))
}

// recipient judges one recipient, and counts it if it is allowed.
func (r *Restraint) recipient(b *book, s Sender, to message.Address, local bool, now time.Time) Answer {
	st := r.stand(b, s, now)
	if a := r.withinLimits(b, st, s, now); a.Verdict != Allow {
		return a
	}
	if local {
		b.count(now, false)
		st.count(r, b.id, now, false)
		return Answer{}
	}
	n := r.secret.name(to)
	stranger := b.known.find(n) < 0
	if stranger && b.heard.find(n) >= 0 && r.within(b, &b.answered, answersTimes, st, s, now) {
		stranger = false
		b.answered.add(now, 1)
	}
	if stranger && !r.o.LimitsOnly && !r.within(b, &b.strangers, 1, st, s, now) {
		return Answer{Verdict: Hold, Reason: b.describe(now) + st.describe(now)}
	}
	if b.known.meet(n, now.Unix()/daySeconds, knownMax) {
		r.names++
		r.shrink()
	}
	b.count(now, stranger)
	st.count(r, b.id, now, stranger)
	return Answer{}
}

// within tells whether one more fits into what an account may have of something
// in a week, and where it is one of a crowd, into its part of that. What it did
// before it came there was no crowd's.
func (r *Restraint) within(b *book, w *window, times int64, st stand, s Sender, now time.Time) bool {
	room, share := r.capacity(b, s, now), st.share(now)
	return int64(w.sum(now)) < times*room && (share == 1 || int64(w.after(now, st.since)) < times*(room/share))
}

// limits are those that apply to a sender.
func (r *Restraint) limits(s Sender) (hour, day int) {
	hour, day = r.o.Hour, r.o.Day
	if s.Hour > 0 {
		hour = int(min(s.Hour, 1<<31-1))
	}
	if s.Day > 0 {
		day = int(min(s.Day, 1<<31-1))
	}
	return hour, day
}

// withinLimits tells whether the account, and the network that it sends from,
// may have one recipient more.
func (r *Restraint) withinLimits(b *book, st stand, s Sender, now time.Time) Answer {
	hour, day := r.limits(s)
	a := reached(now, &b.hours, &b.days, hour, day, "The limit of this account, %d recipients %s, is reached")
	if a.Verdict == Allow && st.site != nil {
		a = reached(now, &st.site.hours, &st.site.days, r.o.NetworkHour, r.o.NetworkDay,
			"The limit of the network "+st.site.network.String()+", %d recipients %s from all accounts, is reached")
		if a.Verdict != Allow {
			r.o.Metrics.limited.Inc()
		}
	}
	return a
}

// reached says that a limit is reached, if one is: the one that lasts longer.
func reached(now time.Time, hours, days *window, hour, day int, text string) Answer {
	for _, l := range []struct {
		w     *window
		limit int
		per   string
	}{{days, day, "a day"}, {hours, hour, "an hour"}} {
		if l.w.sum(now) < l.limit {
			continue
		}
		until := l.w.below(now, l.limit)
		return Answer{Verdict: Limit, Until: until,
			Reason: fmt.Sprintf(text, l.limit, l.per) + "; it can send again after " + until.Format("2006-01-02 15:04") + " UTC"}
	}
	return Answer{}
}

// capacity is how many strangers an account may write to in a week, as things
// are now.
func (r *Restraint) capacity(b *book, s Sender, now time.Time) int64 {
	old := max(int64(len(b.known)-b.strangers.sum(now)), 0)
	c := strangersBase + min(strangersMore, old/strangersPart)
	c = max(c, strangersTimes*7*b.strangersDay.of/unit)
	if bulk := r.bulk(s); bulk > 0 {
		if b.settled.known >= settledMin {
			bulk = min(bulk, b.settled.known/2)
		}
		c = max(c, bulk)
	}
	if n, bounced := b.results.count(now); n >= resultsNote && bounced*bounceNote >= n {
		c /= bouncePart
	}
	if b.scattered(now) {
		c /= networksPart
	}
	return c
}

// bulk is the larger of the limits that the operator has raised for a sender
// beyond the default; 0 if there is none.
func (r *Restraint) bulk(s Sender) (n int64) {
	if s.Hour > int64(r.o.Hour) {
		n = s.Hour
	}
	if s.Day > int64(r.o.Day) {
		n = max(n, s.Day)
	}
	return min(n, 1<<31-1)
}

// scattered tells whether the account's mail comes from more networks at once
// than one person is in.
func (b *book) scattered(now time.Time) bool {
	return b.networksNow(now) > networksFree+networksTimes*int(b.usualNets.round())
}

// message judges a whole message by its recipients elsewhere.
func (r *Restraint) message(b *book, s Sender, to []message.Address, now time.Time) Answer {
	day := now.Unix() / daySeconds
	for _, t := range to {
		if b.known.settled(r.secret.name(t), day) {
			continue
		}
		most := max(floodMessages, floodTimes*b.usualFresh.of/unit, r.bulk(s))
		if !r.o.LimitsOnly && int64(b.fresh.sum(now)) >= most {
			return Answer{Verdict: Hold, Reason: fmt.Sprintf("%d messages within an hour to people it did not write to before today; %s", most+1, usually(b.beforeHour, "an hour"))}
		}
		b.fresh.add(now, 1)
		b.thisHour.fresh++
		break
	}
	return Answer{}
}

// describe says in figures what one stranger more would make of the account's
// week: what the burst was if that did most of it, else all of the week.
func (b *book) describe(now time.Time) string {
	all, strangers := int64(b.weeks.sum(now)), int64(b.strangers.sum(now))
	took, usual := span(time.Duration(b.strangers.reach(now))*24*time.Hour), usually(b.settled.day, "a day")
	lasts := now.Unix()-b.burst.last <= int64(burstGap/time.Second)
	if lasts && 5*b.burst.strangers >= 4*strangers {
		all, strangers = b.burst.recipients, b.burst.strangers
		took, usual = span(time.Duration(now.Unix()-b.burst.since)*time.Second), usually(b.beforeHour, "an hour")
	}
	text := fmt.Sprintf("%d recipients in %s, %d never written to before", all+1, took, strangers+1)
	if b.scattered(now) {
		text += fmt.Sprintf(", from %d networks within an hour", b.networksNow(now))
	}
	return text + "; " + usual
}

// usually says what was usual before that which is to be explained.
func usually(n int64, per string) string {
	if n == 0 {
		return "it has sent hardly anything before"
	}
	return fmt.Sprintf("usual is %d %s", n, per)
}

// span is a stretch of time as people say it.
func span(d time.Duration) string {
	count := func(n int64, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return strconv.FormatInt(n, 10) + " " + what + "s"
	}
	switch {
	case d < 2*time.Minute:
		return count(max(int64(d/time.Second), 1), "second")
	case d < 2*time.Hour:
		return count(int64(d/time.Minute), "minute")
	case d < 24*time.Hour:
		return count(int64(d/time.Hour), "hour")
	}
	return count(int64(d/(24*time.Hour)), "day")
}
