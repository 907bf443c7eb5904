package fate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Period bounds sums by when messages were received: from Since on and before
// Until. The zero value bounds nothing.
type Period struct {
	Since, Until time.Time
	Account      account.ID // that submitted them; 0: all
}

// bounds are the times in microseconds.
func (p Period) bounds() (since, until int64) {
	since, until = math.MinInt64, math.MaxInt64
	if !p.Since.IsZero() {
		since = p.Since.UnixMicro()
	}
	if !p.Until.IsZero() {
		until = p.Until.UnixMicro()
	}
	return since, until
}

// span is a period of messages: received from since on and before until.
type span struct {
	since, until int64
	account      account.ID
}

// where is a condition on received and account, with its arguments: what is
// not asked for is not looked at in every row.
func (p span) where() (condition string, args []any) {
	condition = " WHERE 1"
	if p.since != math.MinInt64 {
		condition, args = condition+" AND received >= ?", append(args, p.since)
	}
	if p.until != math.MaxInt64 {
		condition, args = condition+" AND received < ?", append(args, p.until)
	}
	return p.of(condition, args)
}

// of adds the account to a condition.
func (p span) of(condition string, args []any) (string, []any) {
	if p.account != 0 {
		condition, args = condition+" AND account = ?", append(args, int64(p.account))
	}
	return condition, args
}

// parts takes a period apart: its whole days, and what is left of it before
// and after them. A part whose end is not after its beginning is empty.
func (p span) parts() (head, tail span, first, last int64) {
	first, last = math.MinInt64, math.MaxInt64
	if p.since != math.MinInt64 {
		first = dayAt(p.since-1) + 1
	}
	if p.until != math.MaxInt64 {
		last = dayAt(p.until)
	}
	if first >= last { // no whole day
		return p, span{}, 0, 0
	}
	if p.since != math.MinInt64 {
		head = span{p.since, first * dayMicros, p.account}
	}
	if p.until != math.MaxInt64 {
		tail = span{last * dayMicros, p.until, p.account}
	}
	return head, tail, first, last
}

// Sums count recipients.
type Sums struct {
	Tally
	// Sources are the same by where mail came from.
	Sources map[Source]Tally
	// Unaccounted are the ids of messages whose numbers do not add up: not
	// every recipient has ended or is open; and "record LSN" for those of
	// which the facts cannot be read, whenever they came. At most 1,000 are
	// named.
	Unaccounted []string
	// Dropped is how many messages that were taken in (Taken) this Store has
	// dropped the books of since it was opened, of all periods.
	Dropped int64
}

// Taken is how many messages there are that others have sent: all but those
// that the host made itself.
func (s *Sums) Taken() int64 { return s.Messages - s.Sources[System].Messages }

// messages is where the sums of a part of a day are read from.
const messages = " FROM fate_messages INDEXED BY fate_sums"

// Sums adds up what became of the recipients of a period's messages, once all
// that is durable has been counted. Whole days (UTC) are read from their
// running sums, which Recount checks; parts of a day from 25 octets a message.
func (s *Store) Sums(ctx context.Context, p Period) (t Sums, err error) {
	if s.x == nil {
		return t, errDetached
	}
	since, until := p.bounds()
	asked := span{since, until, p.Account}
	err = s.x.Read(ctx, func(conn *sqlite.Conn) error {
		t = Sums{Sources: map[Source]Tally{}, Dropped: s.dropped.Load()}
		wrong, err := t.count(conn, asked)
		if err != nil {
			return err
		}
		// Counted apart: what the queue reads at its start.
		open := int64(0)
		where, args := asked.where()
		err = each(conn, "SELECT count(*) FROM fate_open"+where, func(st *sqlite.Stmt) error {
			open = st.ColumnInt64(0)
			return nil
		}, args...)
		if err == nil && (wrong || open != t.Queued) {
			t.Unaccounted, err = unaccounted(conn, asked)
		}
		if err != nil {
			return err
		}
		return each(conn, "SELECT lsn FROM fate_unread LIMIT ?", func(st *sqlite.Stmt) error {
			t.Unaccounted = append(t.Unaccounted, RecordName(journal.LSN(st.ColumnInt64(0))))
			return nil
		}, int64(unaccountedMax-len(t.Unaccounted)))
	})
	if err != nil {
		return Sums{}, fmt.Errorf("add up fates: %w", err)
	}
	return t, nil
}

// RecordName stands for the id of a message that nobody can read.
func RecordName(lsn journal.LSN) string { return "record " + lsn.String() }

// count adds up a period, and says whether there is a row in it that does not
// add up by itself.
func (t *Sums) count(conn *sqlite.Conn, p span) (wrong bool, err error) {
	add := func(k dayKey, some *Tally) {
		sum := t.Sources[k.source]
		sum.Add(*some, 1)
		t.Sources[k.source] = sum
		t.Add(*some, 1)
		wrong = wrong || some.Missing() != 0
	}
	head, tail, first, last := p.parts()
	for _, part := range []span{head, tail} {
		if part.since >= part.until {
			continue
		}
		where, args := part.where()
		if err := eachTally(conn, "1", messages+where, add, args...); err != nil {
			return false, err
		}
	}
	if first < last {
		where, args := p.of(" WHERE day >= ? AND day < ?", []any{first, last})
		err = eachTally(conn, "messages", " FROM fate_days"+where, add, args...)
	}
	return wrong, err
}

// unaccounted names the messages whose numbers do not add up.
func unaccounted(conn *sqlite.Conn, p span) ([]string, error) {
	where, args := p.where()
	var lsns []journal.LSN
	err := each(conn, "SELECT lsn"+messages+where+" AND (accepted <> delivered + relayed + bounced + discarded + set_aside + queued "+
		"OR queued <> (SELECT count(*) FROM fate_open AS o WHERE o.lsn = fate_messages.lsn)) ORDER BY received",
		func(st *sqlite.Stmt) error {
			if lsns = append(lsns, journal.LSN(st.ColumnInt64(0))); len(lsns) == unaccountedMax {
				return errStop
			}
			return nil
		}, args...)
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	ids := make([]string, len(lsns))
	for i, lsn := range lsns {
		m, err := load(conn, lsn)
		if err != nil {
			ids[i] = "LSN " + lsn.String() // it is to be named, whatever is wrong with it
			continue
		}
		ids[i] = m.ID
	}
	return ids, nil
}
