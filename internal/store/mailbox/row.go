package mailbox

import (
	"fmt"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// row is a row of mailboxes.
type row struct {
	id           ID
	account      account.ID
	name, use    string
	present      bool
	uidValidity  uint32
	uidNext      UID
	modSeq       ModSeq
	keywords     keywordNames
	messages     int64
	unseen       int64
	deleted      int64
	size         int64
	historyFloor ModSeq
	historyBytes int64

	touched bool // in applier.touched
	gone    bool // removed in this transaction
}

const rowColumns = "id, account, name, use, present, uidvalidity, uidnext, modseq, keywords, " +
	"messages, unseen, deleted, size, history_floor, history_bytes"

// scanRow reads the columns of rowColumns.
func scanRow(s *sqlite.Stmt) *row {
	r := &row{
		id: ID(s.ColumnInt64(0)), account: account.ID(s.ColumnInt64(1)),
		name: s.ColumnText(2), use: s.ColumnText(3), present: s.ColumnBool(4),
		uidValidity: uint32(s.ColumnInt64(5)), uidNext: UID(s.ColumnInt64(6)), modSeq: ModSeq(s.ColumnInt64(7)),
		messages: s.ColumnInt64(9), unseen: s.ColumnInt64(10), deleted: s.ColumnInt64(11), size: s.ColumnInt64(12),
		historyFloor: ModSeq(s.ColumnInt64(13)), historyBytes: s.ColumnInt64(14),
	}
	if k := s.ColumnText(8); k != "" {
		r.keywords = strings.Split(k, " ")
	}
	return r
}

// readRow returns a mailbox's row, or nil.
func readRow(conn *sqlite.Conn, id ID) (*row, error) {
	s, err := conn.Prepare("SELECT " + rowColumns + " FROM mailboxes WHERE id = ?")
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	s.BindInt64(1, int64(id))
	if ok, err := s.Step(); err != nil || !ok {
		return nil, err
	}
	return scanRow(s), nil
}

// write stores the row, or removes it if it is gone.
func (r *row) write(conn *sqlite.Conn) error {
	if r.gone {
		return exec(conn, "DELETE FROM mailboxes WHERE id = ?", int64(r.id))
	}
	s, err := conn.Prepare("INSERT INTO mailboxes (" + rowColumns + ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) " +
		"ON CONFLICT (id) DO UPDATE SET account=excluded.account, name=excluded.name, use=excluded.use, " +
		"present=excluded.present, uidvalidity=excluded.uidvalidity, uidnext=excluded.uidnext, modseq=excluded.modseq, " +
		"keywords=excluded.keywords, messages=excluded.messages, unseen=excluded.unseen, deleted=excluded.deleted, " +
		"size=excluded.size, history_floor=excluded.history_floor, history_bytes=excluded.history_bytes")
	if err != nil {
		return err
	}
	s.BindText(3, r.name)
	s.BindText(4, r.use)
	s.BindBool(5, r.present)
	s.BindText(9, strings.Join(r.keywords, " "))
	for i, v := range [...]int64{1: int64(r.id), 2: int64(r.account), 6: int64(r.uidValidity), 7: int64(r.uidNext),
		8: int64(r.modSeq), 10: r.messages, 11: r.unseen, 12: r.deleted, 13: r.size,
		14: int64(r.historyFloor), 15: r.historyBytes} {
		switch i {
		case 0, 3, 4, 5, 9:
		default:
			s.BindInt64(i, v)
		}
	}
	return step(s)
}

// count adds a message with these flags and size, or takes n = -1 away.
func (r *row) count(n int64, f Flags, size int64) {
	r.messages += n
	r.size += n * size
	if f&FlagSeen == 0 {
		r.unseen += n
	}
	if f&FlagDeleted != 0 {
		r.deleted += n
	}
}

// news reports whether an operation with this MODSEQ has not been applied yet,
// and takes the MODSEQ. Records come in order, so what is not higher has been
// seen before (I6): a replay that was interrupted begins again a little earlier.
func (r *row) news(m ModSeq) bool {
	if m <= r.modSeq {
		return false
	}
	r.modSeq = m
	return true
}

// take moves UIDNEXT past u, which must not have been given before (I6).
func (r *row) take(u UID) error {
	if u < r.uidNext || u == 0 {
		return fmt.Errorf("mailbox %d: UID %d comes after UIDNEXT %d", r.id, u, r.uidNext)
	}
	r.uidNext = u + 1
	return nil
}

// info is what List says of the mailbox.
func (r *row) info() Info {
	return Info{ID: r.id, Account: r.account, Name: r.name, SpecialUse: r.use, Exists: true, UIDValidity: r.uidValidity}
}

// status is what GetStatus says of it.
func (r *row) status() Status {
	return Status{
		Messages: uint32(r.messages), Unseen: uint32(r.unseen), Deleted: uint32(r.deleted), Size: r.size,
		UIDNext: r.uidNext, UIDValidity: r.uidValidity, HighestModSeq: r.modSeq,
	}
}

// addLive changes a segment's live bytes.
func addLive(conn *sqlite.Conn, seg journal.SegmentID, n int64) error {
	if err := exec(conn, "INSERT INTO segments (id, live) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET live = live + excluded.live",
		int64(seg), n); err != nil {
		return fmt.Errorf("count live bytes of segment %s: %w", seg, err)
	}
	return nil
}

func writeFloors(conn *sqlite.Conn, f floorsState) error {
	for name, v := range map[string]int64{"next_id": int64(f.nextID), "uidvalidity": int64(f.uidValidity)} {
		if err := exec(conn, "INSERT INTO floors (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
			name, v); err != nil {
			return fmt.Errorf("write floor %s: %w", name, err)
		}
	}
	return nil
}

func readFloors(conn *sqlite.Conn) (f floorsState, err error) {
	s, err := conn.Prepare("SELECT name, value FROM floors")
	if err != nil {
		return f, err
	}
	defer s.Reset()
	for {
		ok, err := s.Step()
		if err != nil || !ok {
			return f, err
		}
		switch v := s.ColumnInt64(1); s.ColumnText(0) {
		case "next_id":
			f.nextID = ID(v)
		case "uidvalidity":
			f.uidValidity = uint32(v)
		}
	}
}

// exec runs a statement that returns no rows. Arguments are int64, string or
// []byte. Statements that run once a message bind for themselves.
func exec(conn *sqlite.Conn, query string, args ...any) error {
	s, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	for i, a := range args {
		switch v := a.(type) {
		case int64:
			s.BindInt64(i+1, v)
		case string:
			s.BindText(i+1, v)
		case []byte:
			s.BindBytes(i+1, v)
		default:
			panic(fmt.Sprintf("mailbox: argument of type %T", a))
		}
	}
	return step(s)
}

// step runs a prepared statement that returns no rows to its end.
func step(s *sqlite.Stmt) error {
	if _, err := s.Step(); err != nil {
		s.Reset()
		return err
	}
	return s.Reset()
}
