package mailbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Verify checks everything: each checksum in the journal, and the index against
// the journal, by making a second index of it in scratch (a file that does not
// exist; "" is memory) and comparing all mailboxes, subscriptions and messages.
// Each finding goes to fn with the message, mailbox and account that it
// concerns. It returns an error only when it could not look. Everything else
// may go on meanwhile; it reads the whole journal twice.
func (s *Store) Verify(ctx context.Context, scratch string, fn func(Finding)) error {
	if err := s.verifyJournal(ctx, fn); err != nil {
		return err
	}
	aside, err := s.x.SetAsides(ctx)
	if err != nil {
		return fmt.Errorf("list records set aside: %w", err)
	}
	for _, a := range aside {
		fn(Finding{What: "record could not be applied: " + a.Reason, LSN: a.LSN, Segment: a.Position.Segment,
			Offset: a.Position.Offset, Length: a.Position.Length})
	}
	return s.verifyIndex(ctx, scratch, fn)
}

// verifyJournal checks the checksums.
func (s *Store) verifyJournal(ctx context.Context, fn func(Finding)) error {
	var found []Finding
	err := s.j.Verify(ctx, func(f journal.Finding) {
		found = append(found, Finding{What: f.What, Segment: f.Segment, Offset: f.Offset, Length: f.Length, LSN: f.LSN})
	})
	if err != nil {
		return fmt.Errorf("verify journal: %w", err)
	}
	return s.name(ctx, found, fn)
}

// verifyIndex compares the index with what the journal makes of it.
func (s *Store) verifyIndex(ctx context.Context, scratch string, fn func(Finding)) error {
	s.house.Lock() // a compaction in between would drop what is compared with
	defer s.house.Unlock()
	return s.x.Read(ctx, func(live *sqlite.Conn) error {
		upTo, err := index.AppliedIn(live)
		if err != nil {
			return err
		}
		views := []index.View{New(Options{Clock: s.o.Clock, Limits: s.o.Limits}, s.j)}
		for _, v := range s.o.Others {
			if v, ok := v.(Verifier); ok {
				views = append(views, v.Fresh())
			}
		}
		return index.Rebuild(ctx, scratch, s.j, upTo, views, func(fresh *sqlite.Conn) error {
			c := comparison{s: s, live: live, fresh: fresh, fn: fn, lost: make(map[journal.LSN]bool)}
			return errors.Join(c.mailboxes(), c.subscriptions(), c.messages(), c.filings(), c.held(), c.others())
		})
	})
}

// comparison compares the index in use with a fresh one.
type comparison struct {
	s           *Store
	live, fresh *sqlite.Conn
	fn          func(Finding)
	lost        map[journal.LSN]bool // messages that the journal has not
}

// walk goes through the same query on both sides, ordered by its first columns,
// and calls fn with each pair of rows that have the same key; nil where a side
// has none.
func walk[T any](c *comparison, query string, scan func(*sqlite.Stmt) T, order func(a, b T) int, fn func(live, fresh *T)) error {
	sides := [2]*side[T]{{scan: scan}, {scan: scan}}
	for i, conn := range []*sqlite.Conn{c.live, c.fresh} {
		st, err := conn.Prepare(query)
		if err != nil {
			return err
		}
		defer st.Reset()
		sides[i].st = st
		if err := sides[i].next(); err != nil {
			return err
		}
	}
	live, fresh := sides[0], sides[1]
	for live.row != nil || fresh.row != nil {
		a, b := live.row, fresh.row
		if a != nil && b != nil {
			if d := order(*a, *b); d < 0 {
				b = nil
			} else if d > 0 {
				a = nil
			}
		}
		fn(a, b)
		if a != nil {
			if err := live.next(); err != nil {
				return err
			}
		}
		if b != nil {
			if err := fresh.next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// side is one side of a walk.
type side[T any] struct {
	st   *sqlite.Stmt
	scan func(*sqlite.Stmt) T
	row  *T // nil at the end
}

func (d *side[T]) next() error {
	ok, err := d.st.Step()
	d.row = nil
	if err != nil || !ok {
		return err
	}
	r := d.scan(d.st)
	d.row = &r
	return nil
}

// wrong reports a difference that concerns the index.
func (c *comparison) wrong(what string, owners ...Owner) {
	c.fn(Finding{What: what, Owners: owners, Index: true})
}

// mailboxes compares the mailboxes and their numbers.
func (c *comparison) mailboxes() error {
	return walk(c, "SELECT "+rowColumns+" FROM mailboxes ORDER BY id", func(st *sqlite.Stmt) row { return *scanRow(st) },
		func(a, b row) int { return compare(a.id, b.id) },
		func(live, fresh *row) {
			switch {
			case fresh == nil:
				c.wrong("mailbox is in the index and not in the journal", c.s.owner(live, 0))
			case live == nil && (fresh.present || fresh.messages > 0):
				c.wrong("mailbox is in the journal and not in the index", c.s.owner(fresh, 0))
			case live != nil && !sameRow(*live, *fresh):
				c.wrong(fmt.Sprintf("mailbox is %s in the index and %s by the journal", live, fresh), c.s.owner(live, 0))
			}
		})
}

// String describes the row for findings.
func (r *row) String() string {
	return fmt.Sprintf("%q (%q, UIDVALIDITY %d, UIDNEXT %d, MODSEQ %d, keywords %v, %d messages, %d unseen, %d deleted, %d octets)",
		r.name, r.use, r.uidValidity, r.uidNext, r.modSeq, r.keywords, r.messages, r.unseen, r.deleted, r.size)
}

// sameRow compares all that clients see; what is remembered of expunges may
// differ after a compaction.
func sameRow(a, b row) bool {
	return a.account == b.account && a.present == b.present && a.String() == b.String()
}

func compare[T ~uint64 | ~uint32 | ~int64 | ~string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// subscriptions compares the subscriptions.
func (c *comparison) subscriptions() error {
	return walk(c, "SELECT account, name FROM subscriptions ORDER BY account, name",
		func(st *sqlite.Stmt) subscription {
			return subscription{account.ID(st.ColumnInt64(0)), st.ColumnText(1)}
		},
		func(a, b subscription) int {
			if d := compare(a.account, b.account); d != 0 {
				return d
			}
			return compare(a.name, b.name)
		},
		func(live, fresh *subscription) {
			switch {
			case fresh == nil:
				c.wrong("subscription is in the index and not in the journal", c.subscriber(*live))
			case live == nil:
				c.wrong("subscription is in the journal and not in the index", c.subscriber(*fresh))
			}
		})
}

func (c *comparison) subscriber(sub subscription) Owner {
	return Owner{Account: sub.account, Address: c.s.o.Owner(sub.account), Name: sub.name}
}

// place is where the index says that a message lies.
type place struct {
	lsn journal.LSN
	pos journal.Position
}

// messages compares where bodies lie. Messages that no mailbox has may be
// missing on either side.
func (c *comparison) messages() error {
	return walk(c, "SELECT lsn, segment, offset, length FROM messages ORDER BY lsn",
		func(st *sqlite.Stmt) place {
			return place{journal.LSN(st.ColumnInt64(0)), journal.Position{
				Segment: journal.SegmentID(st.ColumnInt64(1)), Offset: st.ColumnInt64(2), Length: st.ColumnInt64(3)}}
		},
		func(a, b place) int { return compare(a.lsn, b.lsn) },
		func(live, fresh *place) {
			switch {
			case live == nil: // filings will tell whether it is missed
			case fresh == nil:
				c.lost[live.lsn] = true
			case live.pos != fresh.pos: // two copies, after a crash: both must be good
				rec, err := c.s.j.ReadRecord(live.pos)
				if err != nil || rec.LSN != live.lsn {
					c.lost[live.lsn] = true
				}
			}
		})
}

// filed is one filing.
type filed struct {
	mailbox ID
	e       Entry
}

// filings compares the messages in the mailboxes, and reports those whose body
// is lost.
func (c *comparison) filings() error {
	names := make(map[ID]*row)
	for _, conn := range []*sqlite.Conn{c.fresh, c.live} {
		if err := eachRow(conn, "SELECT "+rowColumns+" FROM mailboxes", func(st *sqlite.Stmt) {
			r := scanRow(st)
			names[r.id] = r
		}); err != nil {
			return err
		}
	}
	whose := func(f *filed) Owner {
		if r := names[f.mailbox]; r != nil {
			return c.s.owner(r, f.e.UID)
		}
		return Owner{Mailbox: f.mailbox, UID: f.e.UID}
	}
	return walk(c, "SELECT mailbox, uid, modseq, flags, message, size, date FROM filings ORDER BY mailbox, uid",
		func(st *sqlite.Stmt) filed {
			return filed{ID(st.ColumnInt64(0)), Entry{UID: UID(st.ColumnInt64(1)), ModSeq: ModSeq(st.ColumnInt64(2)),
				Flags: Flags(st.ColumnInt64(3)), Message: journal.LSN(st.ColumnInt64(4)), Size: uint32(st.ColumnInt64(5)), Date: st.ColumnInt64(6)}}
		},
		func(a, b filed) int {
			if d := compare(a.mailbox, b.mailbox); d != 0 {
				return d
			}
			return compare(a.e.UID, b.e.UID)
		},
		func(live, fresh *filed) {
			switch {
			case live == nil:
				c.wrong("message is in the journal and not in the index", whose(fresh))
			case c.lost[live.e.Message]:
				c.fn(Finding{What: "message is lost: the journal does not have it any more", LSN: live.e.Message, Owners: []Owner{whose(live)}})
			case fresh == nil:
				c.wrong("message is in the index and not in the journal", whose(live))
			case live.e != fresh.e:
				c.wrong(fmt.Sprintf("message is %+v in the index and %+v by the journal", live.e, fresh.e), whose(live))
			}
		})
}

// held reports the lost messages that another view still needs.
func (c *comparison) held() error {
	for _, lsn := range slices.Sorted(maps.Keys(c.lost)) {
		for _, v := range c.s.o.Others {
			held, err := v.Holds(c.live, lsn)
			if err != nil {
				return err
			}
			if held {
				c.fn(Finding{What: fmt.Sprintf("message of LSN %s is lost, and not all its recipients have got it", lsn), LSN: lsn})
			}
		}
	}
	return nil
}

// others lets the other views compare their tables.
func (c *comparison) others() error {
	for _, v := range c.s.o.Others {
		v, ok := v.(Verifier)
		if !ok {
			continue
		}
		if err := v.Compare(c.live, c.fresh, func(what string, lsn journal.LSN) {
			c.fn(Finding{What: what, LSN: lsn, Index: true})
		}); err != nil {
			return err
		}
	}
	return nil
}
