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

// where is a condition on received and account, with its arguments: what is
// not asked for is not looked at in every row.
func (p Period) where() (condition string, args []any) {
	condition = " WHERE 1"
	since, until := p.bounds()
	if !p.Since.IsZero() {
		condition, args = condition+" AND received >= ?", append(args, since)
	}
	if !p.Until.IsZero() {
		condition, args = condition+" AND received < ?", append(args, until)
	}
	if p.Account != 0 {
		condition, args = condition+" AND account = ?", append(args, int64(p.Account))
	}
	return condition, args
}

// Sums count recipients.
type Sums struct {
	Accepted, Delivered, Relayed, Bounced, Discarded, SetAside, Queued int64

	Messages int64
	// Unaccounted are the ids of messages whose numbers do not add up: not
	// every recipient has ended or is open. At most 1,000 are named.
	Unaccounted []string
}

// messages is where sums are read from.
const messages = " FROM fate_messages INDEXED BY fate_sums"

// Sums adds up what became of the recipients of a period's messages, once all
// that is durable has been counted. It reads about 25 octets a message.
func (s *Store) Sums(ctx context.Context, p Period) (Sums, error) {
	var t Sums
	if s.x == nil {
		return t, errDetached
	}
	err := s.x.Read(ctx, func(conn *sqlite.Conn) error {
		where, args := p.where()
		var unequal, open int64
		err := each(conn, "SELECT count(*), total(accepted), total(delivered), total(relayed), total(bounced), total(discarded), "+
			"total(set_aside), total(queued), total(accepted <> delivered + relayed + bounced + discarded + set_aside + queued)"+messages+where,
			func(st *sqlite.Stmt) error {
				for i, n := range []*int64{&t.Messages, &t.Accepted, &t.Delivered, &t.Relayed, &t.Bounced, &t.Discarded,
					&t.SetAside, &t.Queued, &unequal} {
					*n = st.ColumnInt64(i)
				}
				return nil
			}, args...)
		if err != nil {
			return err
		}
		// Counted apart: what the queue reads at its start.
		err = each(conn, "SELECT count(*) FROM fate_open"+where,
			func(st *sqlite.Stmt) error {
				open = st.ColumnInt64(0)
				return nil
			}, args...)
		if err != nil || unequal == 0 && open == t.Queued {
			return err
		}
		t.Unaccounted, err = unaccounted(conn, where, args)
		return err
	})
	if err != nil {
		return Sums{}, fmt.Errorf("add up fates: %w", err)
	}
	return t, nil
}

// unaccounted names the messages whose numbers do not add up.
func unaccounted(conn *sqlite.Conn, where string, args []any) ([]string, error) {
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
