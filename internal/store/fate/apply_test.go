package fate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// tables makes a database with this view's tables only.
func tables(t *testing.T) *sqlite.Conn {
	t.Helper()
	conn, err := sqlite.OpenConn(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := sqlitex.ExecuteScript(conn, schema, nil); err != nil {
		t.Fatal(err)
	}
	return conn
}

func dump(t *testing.T, conn *sqlite.Conn) string {
	t.Helper()
	var b strings.Builder
	for _, table := range []string{"fate_messages", "fate_open", "fate_ended", "fate_days", "fate_owed", "fate_unread", "fate_names", "fate_purged"} {
		err := each(conn, "SELECT * FROM "+table+" ORDER BY 1", func(st *sqlite.Stmt) error {
			b.WriteString(table)
			for i := range st.ColumnCount() {
				fmt.Fprintf(&b, " %q", columnBytes(st, i))
			}
			b.WriteByte('\n')
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// script is a message's life in records, the State in its place.
func script() []journal.Record {
	m := sampleMessage()
	change := func(state State, places ...int) []byte {
		e := sampleEvents()[0]
		e.State = state
		return packChange(Change{LSN: 10, Rcpt: places, Event: e, Attempt: true})
	}
	st := messageState{lsn: 5, facts: value(AppendAccepted(nil, m)), standings: []placed{
		{1, standing{state: Relayed, changed: 7}}, {2, standing{state: Deferred, attempts: 3, last: 6}}}}
	p := purged{floor: 30}
	return []journal.Record{
		{LSN: 10, Type: journal.TypeMessage, Envelope: AppendAccepted(nil, m)},
		{LSN: 11, Type: journal.TypeBatch, Envelope: append(change(Deferred, 1, 2), change(Deferred, 2)...)},
		{LSN: 12, Type: journal.TypeMessage, Envelope: append(AppendAccepted(nil, m), change(Bounced, 1)...)},
		{LSN: 40, AsOf: 12, Type: journal.TypeState, Envelope: st.append(nil)},
		{LSN: 13, Type: journal.TypeBatch, Envelope: change(Relayed, 1, 2)},
		{LSN: 14, Type: journal.TypeBatch, Envelope: p.append(nil, tagPurged)},
		{LSN: 31, Type: journal.TypeMessage, Envelope: AppendAccepted(nil, m)},
	}
}

// However records fall into transactions, and whether some come again after a
// crash, the tables are the same.
func TestApply_batchesAndAgain(t *testing.T) {
	rs := script()
	for upTo := 1; upTo <= len(rs); upTo++ {
		want := ""
		for batch := 1; batch <= upTo; batch++ {
			for _, again := range []bool{false, true} {
				conn := tables(t)
				s := New(Options{})
				for i := 0; i < upTo; i += batch {
					part := rs[i:min(i+batch, upTo)]
					for _, r := range part {
						if _, err := s.Apply(conn, r); err != nil {
							t.Fatal(err)
						}
					}
					if err := s.Flush(conn); err != nil {
						t.Fatal(err)
					}
					if again { // the last record, by a new process
						s = New(Options{})
						if _, err := s.Apply(conn, part[len(part)-1]); err != nil {
							t.Fatal(err)
						}
						if err := s.Flush(conn); err != nil {
							t.Fatal(err)
						}
					}
				}
				got := dump(t, conn)
				if want == "" {
					want = got
				}
				if got != want {
					t.Fatalf("%d records, %d a transaction, again %v:\n%s\nwant\n%s", upTo, batch, again, got, want)
				}
			}
		}
	}
}

// What was gathered is forgotten when the transaction fails.
func TestApply_rollback(t *testing.T) {
	conn := tables(t)
	s := New(Options{})
	rs := script()
	if _, err := s.Apply(conn, rs[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(conn); err != nil {
		t.Fatal(err)
	}
	want := dump(t, conn)
	if _, err := s.Apply(conn, rs[1]); err != nil {
		t.Fatal(err)
	}
	s.Rollback()
	if err := s.Flush(conn); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, conn); got != want {
		t.Errorf("after rollback\n%s\nwant\n%s", got, want)
	}
}

// The result of Apply is what the queue is told.
func TestApply_updates(t *testing.T) {
	conn := tables(t)
	s := New(Options{})
	var told []string
	for _, r := range script()[:3] {
		res, err := s.Apply(conn, r)
		if err != nil {
			t.Fatal(err)
		}
		did, _ := res.(result)
		for _, u := range did.updates {
			told = append(told, fmt.Sprint(u.LSN, " ", u.Rcpt, " ", u.State, " ", u.Attempts, " ", u.Fresh, " ", u.Domain))
		}
	}
	want := []string{
		"0.10 1 held 0 true example.org", "0.10 2 queued 0 true example.org",
		"0.10 1 deferred 1 false example.org", "0.10 2 deferred 1 false example.org", "0.10 2 deferred 2 false example.org",
		"0.12 1 held 0 true example.org", "0.12 2 queued 0 true example.org", "0.10 1 bounced 2 false example.org",
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// A block with too many names matches everything, and recovers when most of
// its messages are gone.
func TestNames_full(t *testing.T) {
	conn := tables(t)
	keys := make([]uint32, blockKeys+1)
	for i := range keys {
		keys[i] = uint32(i) * 3
	}
	if err := errors.Join(addNames(conn, 0, keys), addNames(conn, 0, []uint32{7})); err != nil {
		t.Fatal(err)
	}
	got, there, err := readNames(conn, 0)
	if len(got) != 0 || !there || err != nil || !hasKey(nil, 8) {
		t.Errorf("%d keys, %v, %v", len(got), there, err)
	}
	s := New(Options{})
	if _, err := s.Apply(conn, script()[0]); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Flush(conn), rewriteNames(conn, 0)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := readNames(conn, 0); len(got) != 7 || err != nil {
		t.Errorf("%d keys, %v", len(got), err)
	}
}
