package fate

import (
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Tally counts the recipients of messages by what has become of them.
type Tally struct {
	Messages, Accepted                                       int64
	Delivered, Relayed, Bounced, Discarded, SetAside, Queued int64
}

// Missing is how many recipients were accepted and have no fate: 0 if the sum
// holds, less if there are more fates than recipients.
func (t Tally) Missing() int64 {
	return t.Accepted - t.Delivered - t.Relayed - t.Bounced - t.Discarded - t.SetAside - t.Queued
}

// Add adds other counts, so many times.
func (t *Tally) Add(o Tally, times int64) {
	sums := t.all()
	for i, n := range o.all() {
		*sums[i] += times * *n
	}
}

// all are the counts in the order of tallyColumns.
func (t *Tally) all() [8]*int64 {
	return [...]*int64{&t.Messages, &t.Accepted, &t.Delivered, &t.Relayed, &t.Bounced, &t.Discarded, &t.SetAside, &t.Queued}
}

// of returns where recipients in a state are counted.
func (t *Tally) of(s State) *int64 {
	switch s {
	case Delivered:
		return &t.Delivered
	case Relayed:
		return &t.Relayed
	case Bounced:
		return &t.Bounced
	case Discarded:
		return &t.Discarded
	case SetAside:
		return &t.SetAside
	}
	return &t.Queued
}

// read reads counts from a row's columns, from the first of them on.
func (t *Tally) read(st *sqlite.Stmt, first int) {
	for i, n := range t.all() {
		*n = st.ColumnInt64(first + i)
	}
}

// dayMicros is the length of a day: UTC has no others.
const dayMicros = int64(24 * time.Hour / time.Microsecond)

// dayKey is a row of fate_days.
type dayKey struct {
	day     int64 // since 1970
	account account.ID
	source  Source
}

func dayOf(received int64, a account.ID, s Source) dayKey { return dayKey{dayAt(received), a, s} }

// dayAt is the day of a time, also before 1970.
func dayAt(micros int64) int64 {
	day := micros / dayMicros
	if micros%dayMicros < 0 {
		day--
	}
	return day
}

// days are changes of the running sums, until they are written.
type days map[dayKey]*Tally

func (d days) add(k dayKey, t *Tally, times int64) {
	sum := d[k]
	if sum == nil {
		sum = new(Tally)
		d[k] = sum
	}
	sum.Add(*t, times)
}

// change adds t to the counts of a message, and of its day.
func (d days) change(conn *sqlite.Conn, lsn journal.LSN, t *Tally) error {
	return each(conn, "UPDATE fate_messages SET delivered = delivered + ?, relayed = relayed + ?, bounced = bounced + ?, "+
		"discarded = discarded + ?, set_aside = set_aside + ?, queued = queued + ? WHERE lsn = ? RETURNING received, account, source",
		func(st *sqlite.Stmt) error {
			d.add(dayOf(st.ColumnInt64(0), account.ID(st.ColumnInt64(1)), Source(st.ColumnInt64(2))), t, 1)
			return nil
		}, t.Delivered, t.Relayed, t.Bounced, t.Discarded, t.SetAside, t.Queued, int64(lsn))
}

// eachTally calls fn with the counts of each row, and whose they are; the day of
// the key is 0. count is how many messages a row stands for. (To have SQLite
// group and add takes twice the time.)
func eachTally(conn *sqlite.Conn, count, from string, fn func(dayKey, *Tally), args ...any) error {
	var t Tally
	return each(conn, "SELECT account, source, "+count+", "+tallyColumns+from, func(st *sqlite.Stmt) error {
		t.read(st, 2)
		fn(dayKey{0, account.ID(st.ColumnInt64(0)), Source(st.ColumnInt64(1))}, &t)
		return nil
	}, args...)
}

// drop takes a range of messages off their days, and tells how many of them
// were taken in: all but those that the host made itself.
func (d days) drop(conn *sqlite.Conn, from, to journal.LSN) (taken int64, err error) {
	err = each(conn, "SELECT received, account, source, 1, "+tallyColumns+" FROM fate_messages WHERE lsn BETWEEN ? AND ?", func(st *sqlite.Stmt) error {
		var t Tally
		t.read(st, 3)
		k := dayOf(st.ColumnInt64(0), account.ID(st.ColumnInt64(1)), Source(st.ColumnInt64(2)))
		d.add(k, &t, -1)
		if k.source != System {
			taken++
		}
		return nil
	}, int64(from), int64(to))
	return taken, err
}

// write adds the changes to the tables. A day without messages has no row.
func (d days) write(conn *sqlite.Conn) error {
	for k, t := range d {
		err := exec(conn, "INSERT INTO fate_days (day, account, source, messages, "+tallyColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?) "+
			"ON CONFLICT DO UPDATE SET messages = messages + excluded.messages, accepted = accepted + excluded.accepted, "+
			"delivered = delivered + excluded.delivered, relayed = relayed + excluded.relayed, bounced = bounced + excluded.bounced, "+
			"discarded = discarded + excluded.discarded, set_aside = set_aside + excluded.set_aside, queued = queued + excluded.queued",
			k.day, int64(k.account), int64(k.source), t.Messages, t.Accepted, t.Delivered, t.Relayed, t.Bounced, t.Discarded, t.SetAside, t.Queued)
		if err == nil && t.Messages < 0 {
			err = exec(conn, "DELETE FROM fate_days WHERE day = ? AND account = ? AND source = ? AND messages = 0", k.day, int64(k.account), int64(k.source))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tallyColumns are the counts that messages and days have.
const tallyColumns = "accepted, delivered, relayed, bounced, discarded, set_aside, queued"
