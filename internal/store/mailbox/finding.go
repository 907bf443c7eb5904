package mailbox

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Finding is something wrong that Verify or the scrub has found.
type Finding struct {
	What    string            // in words
	Segment journal.SegmentID // 0 if it is about the index only
	Offset  int64
	Length  int64       // as far as it is known
	LSN     journal.LSN // of the record, 0 if it cannot be told
	Owners  []Owner     // whose messages or mailboxes it concerns, if any
	// Index says that the journal is whole and the index is wrong: deleting
	// index.db mends it.
	Index bool
}

// Owner is one message, or mailbox if UID is 0, that a finding concerns.
type Owner struct {
	Account account.ID
	Address string // as Options.Owner names it
	Mailbox ID
	Name    string
	UID     UID
}

// String is one line for operators.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.What)
	if f.Segment != 0 {
		fmt.Fprintf(&b, " (segment %s, offset %d", f.Segment, f.Offset)
		if f.LSN != 0 {
			fmt.Fprintf(&b, ", record %s", f.LSN)
		}
		b.WriteString(")")
	}
	for _, o := range f.Owners {
		fmt.Fprintf(&b, "; %s, mailbox %s", o.Address, o.Name)
		if o.UID != 0 {
			fmt.Fprintf(&b, ", message UID %d", o.UID)
		}
	}
	return b.String()
}

// ownersMax bounds the owners that one finding names.
const ownersMax = 1_000

// owner describes a message by its mailbox's row.
func (s *Store) owner(r *row, u UID) Owner {
	return Owner{Account: r.account, Address: s.o.Owner(r.account), Mailbox: r.id, Name: r.name, UID: u}
}

// name finds out whom journal findings concern, and gives them on with that.
func (s *Store) name(ctx context.Context, found []Finding, fn func(Finding)) error {
	if len(found) == 0 {
		return nil
	}
	return s.x.Read(ctx, func(conn *sqlite.Conn) error {
		byLSN, err := locate(conn, found)
		if err != nil {
			return fmt.Errorf("find damaged messages: %w", err)
		}
		if err := s.nameMessages(conn, byLSN); err != nil {
			return fmt.Errorf("find owners: %w", err)
		}
		for _, f := range found {
			fn(f)
		}
		return nil
	})
}

// locate gives the findings by the LSNs of the messages that they hit. Where
// the LSN is not known, or the damage spans several records, the position
// tells.
func locate(conn *sqlite.Conn, found []Finding) (map[journal.LSN][]*Finding, error) {
	byLSN := make(map[journal.LSN][]*Finding)
	byPlace := false
	for i := range found {
		f := &found[i]
		if f.LSN != 0 {
			byLSN[f.LSN] = append(byLSN[f.LSN], f)
		}
		byPlace = byPlace || f.Segment != 0
	}
	if !byPlace {
		return byLSN, nil
	}
	err := eachRow(conn, "SELECT lsn, segment, offset, length, large FROM messages", func(st *sqlite.Stmt) {
		lsn := journal.LSN(st.ColumnInt64(0))
		seg, from, n := journal.SegmentID(st.ColumnInt64(1)), st.ColumnInt64(2), st.ColumnInt64(3)
		large := journal.SegmentID(st.ColumnInt64(4))
		for i := range found {
			f := &found[i]
			hit := f.Segment == large && large != 0 ||
				f.Segment == seg && f.LSN != lsn && f.Offset < from+n && f.Offset+max(f.Length, 1) > from
			if hit && !slices.Contains(byLSN[lsn], f) {
				byLSN[lsn] = append(byLSN[lsn], f)
			}
		}
	})
	return byLSN, err
}

// nameMessages adds the mailboxes that have the messages.
func (s *Store) nameMessages(conn *sqlite.Conn, byLSN map[journal.LSN][]*Finding) error {
	if len(byLSN) == 0 {
		return nil
	}
	rows := make(map[ID]*row)
	if err := eachRow(conn, "SELECT "+rowColumns+" FROM mailboxes", func(st *sqlite.Stmt) {
		r := scanRow(st)
		rows[r.id] = r
	}); err != nil {
		return err
	}
	return eachRow(conn, "SELECT mailbox, uid, message FROM filings", func(st *sqlite.Stmt) {
		fs := byLSN[journal.LSN(st.ColumnInt64(2))]
		r := rows[ID(st.ColumnInt64(0))]
		if len(fs) == 0 || r == nil {
			return
		}
		for _, f := range fs {
			if len(f.Owners) < ownersMax {
				f.Owners = append(f.Owners, s.owner(r, UID(st.ColumnInt64(1))))
			}
		}
	})
}
