package command

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// parsed is a command's text and what it means.
type parsed struct {
	line string
	want Verb
}

func set(v string) wire.Set {
	s, err := wire.ParseSet([]byte(v))
	if err != nil {
		panic(err)
	}
	return s
}

func checkParsed(t *testing.T, tests []parsed) {
	t.Helper()
	for _, tt := range tests {
		got, err := Parse([]byte("a1 " + tt.line + "\r\n"))
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if diff := cmp.Diff(Command{"a1", tt.want}, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.line, diff)
		}
	}
}

func TestParse_MailboxCommands(t *testing.T) {
	checkParsed(t, []parsed{
		{"noop", Noop},
		{"AUTHENTICATE PLAIN", Authenticate{Mechanism: "PLAIN"}},
		{"AUTHENTICATE plain =", Authenticate{Mechanism: "PLAIN", Initial: []byte{}}},
		{"AUTHENTICATE PLAIN AGEAYg==", Authenticate{Mechanism: "PLAIN", Initial: []byte("\x00a\x00b")}},
		{"LOGIN one@demo.test {4}\r\nb\" c", Login{User: "one@demo.test", Password: `b" c`}},
		{"ENABLE condstore QRESYNC", Enable{Capabilities: []string{"CONDSTORE", "QRESYNC"}}},
		{"ID NIL", ID{}},
		{`ID ("name" "x" "os" NIL)`, ID{Pairs: []IDPair{{"name", "x"}, {"os", ""}}}},
		{"COMPRESS DEFLATE", Compress{Algorithm: "DEFLATE"}},
		{"SELECT INBOX", Select{Mailbox: "INBOX"}},
		{"EXAMINE inbox (CONDSTORE)", Select{Mailbox: "inbox", ReadOnly: true, CondStore: true}},
		{"SELECT x (QRESYNC (7 90 1:5 (1,3 4:5)))", Select{Mailbox: "x", QResync: &QResync{
			UIDValidity: 7, ModSeq: 90, Known: set("1:5"), SeqMatch: set("1,3"), UIDMatch: set("4:5"),
		}}},
		{"SELECT x (QRESYNC (7 90 (1 4)))", Select{Mailbox: "x", QResync: &QResync{
			UIDValidity: 7, ModSeq: 90, SeqMatch: set("1"), UIDMatch: set("4"),
		}}},
		{`CREATE "a b" (USE (\Sent))`, Create{Mailbox: "a b", Use: []string{`\Sent`}}},
		{"RENAME a b/c", Rename{From: "a", To: "b/c"}},
		{"UNSUBSCRIBE a", Subscribe{Mailbox: "a"}},
		{`LIST "" *`, List{Patterns: []string{"*"}}},
		{`LIST (SUBSCRIBED RECURSIVEMATCH) "" ("a" %) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))`, List{
			Extended: true, Select: SelectSubscribed | SelectRecursiveMatch, Patterns: []string{"a", "%"},
			Return: ReturnChildren | ReturnStatus, Status: []StatusItem{StatusMessages, StatusUnseen},
		}},
		{`LSUB "" *`, Lsub{Pattern: "*"}},
		{"STATUS a (SIZE HIGHESTMODSEQ SIZE)", Status{Mailbox: "a", Items: []StatusItem{StatusSize, StatusHighestModSeq}}},
		{"UID EXPUNGE 1:3", UIDExpunge{Set: set("1:3")}},
	})
}

func TestParse_MessageCommands(t *testing.T) {
	date := wire.Date{Year: 2026, Month: time.February, Day: 1}
	checkParsed(t, []parsed{
		{"SEARCH UNSEEN", Search{Key: Key{Keys: []Key{{Op: KeyUnseen}}}}},
		{"UID SEARCH RETURN (SAVE COUNT) CHARSET utf-8 NOT (OR FROM a 1:2) SINCE 1-Feb-2026 $", Search{
			UID: true, Extended: true, Return: ReturnSave | ReturnCount, Charset: "UTF-8",
			Key: Key{Keys: []Key{
				{Op: KeyNot, Keys: []Key{{Keys: []Key{{Op: KeyOr, Keys: []Key{
					{Op: KeyFrom, Text: "a"}, {Op: KeySeq, Set: set("1:2")},
				}}}}}},
				{Op: KeySince, Date: date},
				{Op: KeySeq, Set: wire.Set{Saved: true}},
			}},
		}},
		{`SEARCH MODSEQ "/flags/\\draft" all 620162338`, Search{Key: Key{Keys: []Key{
			{Op: KeyModSeq, Field: `/flags/\draft`, Text: "ALL", Num: 620162338},
		}}}},
		{"FETCH 1:* FAST", Fetch{Set: set("1:*"), Items: macro(FetchFlags, FetchInternalDate, FetchSize)}},
		{"UID FETCH 1 (BODY BODY[] BODY.PEEK[1.2.HEADER.FIELDS (a \"b c\")]<3.4> BINARY.SIZE[1]) (CHANGEDSINCE 5 VANISHED)",
			Fetch{UID: true, Set: set("1"), ChangedSince: 5, Vanished: true, Items: []FetchItem{
				{Kind: FetchBody},
				{Kind: FetchSection},
				{Kind: FetchSection, Peek: true, Partial: true, Offset: 3, Count: 4, Section: Section{
					Part: []uint32{1, 2}, Text: TextHeaderFields, Fields: []string{"a", "b c"},
				}},
				{Kind: FetchBinarySize, Section: Section{Part: []uint32{1}}},
			}}},
		{"STORE 1 (UNCHANGEDSINCE 0) +flags.silent \\Seen $x", Store{
			Set: set("1"), Op: StoreAdd, Silent: true, Flags: []string{`\Seen`, "$x"}, Conditional: true,
		}},
		{"STORE 1 -FLAGS ()", Store{Set: set("1"), Op: StoreRemove}},
		{"UID MOVE 1,2 Trash", Copy{UID: true, Move: true, Set: set("1,2"), Mailbox: "Trash"}},
	})
}

func TestParse_Refuses(t *testing.T) {
	deep := strings.Repeat("(", SearchDepthMax+1) + "ALL" + strings.Repeat(")", SearchDepthMax+1)
	tests := []string{
		"", "NOOP x", "LOGIN a", "LOGIN a b c", "SELECT", "SELECT *", "SELECT a (FOO)", "SELECT a (QRESYNC (0 1))",
		"SELECT a (QRESYNC (1 1 1:*))", "ENABLE", "CREATE a (USE)", "LIST a", `LIST (RECURSIVEMATCH) "" *`, `LIST "" ()`,
		`LIST "" * RETURN (FOO)`, "STATUS a ()", "STATUS a (FOO)", "FETCH 1 ()", "FETCH 1 FOO", "FETCH 0 FLAGS",
		"FETCH 1 BODY[MIME]", "FETCH 1 BODY[0]", "FETCH 1 BODY[1.]", "FETCH 1 BODY[1.2", "FETCH 1 BINARY[HEADER]", "FETCH 1 BODY[]<1>",
		"FETCH 1 BODY[]<1.0>", "FETCH 1 FLAGS (VANISHED CHANGEDSINCE 1)", "UID FETCH 1 FLAGS (VANISHED)", "FETCH 1 BODY[HEADER.FIELDS ()]",
		"SEARCH", "SEARCH NOT", "SEARCH OR ALL", "SEARCH (ALL", "SEARCH ()", "SEARCH FOO", "SEARCH SINCE x", "SEARCH " + deep,
		"SEARCH" + strings.Repeat(" ALL", SearchKeysMax+1), "SEARCH " + strings.Repeat("NOT ", SearchDepthMax+1) + "ALL",
		"STORE 1 FLAGS", "STORE 1 FLAGS (a", "STORE 1 (UNCHANGEDSINCE) FLAGS a", "STORE 1 =FLAGS a", "COPY 1", "UID", "UID FOO", "UID NOOP",
		`ID (` + strings.Repeat(`"a" "b" `, IDPairsMax) + `"a" "b")`, "AUTHENTICATE PLAIN !", "EXPUNGE 1", "ID x",
	}
	for _, line := range tests {
		c, err := Parse([]byte("a1 " + line + "\r\n"))
		if err == nil {
			t.Errorf("%.60q was read as %+v", line, c.Verb)
		}
		if c.Tag != "a1" {
			t.Errorf("%.60q: tag %q", line, c.Tag)
		}
	}
	if _, err := Parse([]byte("a1 FOO\r\n")); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown command: %v", err)
	}
	if _, err := Parse([]byte("a1 NOOP\r\na2 NOOP\r\n")); err == nil {
		t.Error("two commands were read as one")
	}
}

func TestParseAppend_Pieces(t *testing.T) {
	h, m, err := ParseAppend([]byte("a APPEND {3}\r\na b (\\Seen x) \" 1-Feb-2026 03:04:05 +0000\" {99+}\r\n"))
	if err != nil || h.Tag != "a" || h.Mailbox != "a b" || len(m.Flags) != 2 || m.Literal.Size != 99 || !m.Literal.Plus {
		t.Errorf("%+v %+v %v", h, m, err)
	}
	if m.Date.Unix() != 1769915045 {
		t.Errorf("date %v", m.Date)
	}
	_, m, err = ParseAppend([]byte("a APPEND x UTF8 (~{9}\r\n"))
	if err != nil || !m.UTF8 || !m.Literal.Binary {
		t.Errorf("%+v %v", m, err)
	}
	for _, line := range []string{"a APPEND {3}\r\n", "a LOGIN {3}\r\n", "a APPEND {3+}\r\n"} {
		if _, _, err := ParseAppend([]byte(line)); !errors.Is(err, ErrNotAppend) {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"a APPEND x (\\Seen {3}\r\n", "a APPEND x foo {3}\r\n", "a APPEND x UTF8 ({3}\r\n", "a APPEND x y\r\n"} {
		if h, m, err := ParseAppend([]byte(line)); err == nil || errors.Is(err, ErrNotAppend) || h.Tag != "a" {
			t.Errorf("%q: %+v %+v %v", line, h, m, err)
		}
	}
	if _, end, err := ParseAppendNext([]byte("\r\n"), false); !end || err != nil {
		t.Errorf("end: %v %v", end, err)
	}
	if _, end, err := ParseAppendNext([]byte(")\r\n"), true); !end || err != nil {
		t.Errorf("end of UTF8: %v %v", end, err)
	}
	if _, _, err := ParseAppendNext([]byte("x\r\n"), false); err == nil {
		t.Error("rubbish after a message was taken")
	}
	m, end, err := ParseAppendNext([]byte(" (\\Seen) {5}\r\n"), false)
	if err != nil || end || m.Literal.Size != 5 || len(m.Flags) != 1 {
		t.Errorf("next: %+v %v %v", m, end, err)
	}
}

func checkParse(t *testing.T, b []byte) {
	t.Helper()
	c, err := Parse(b)
	if err != nil {
		return
	}
	printed := c.Append(nil)
	again, err := Parse(printed)
	if err != nil {
		t.Fatalf("%q printed as %q: %v", b, printed, err)
	}
	if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%q printed as %q: (-first +second)\n%s", b, printed, diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"LOGIN a {1}\r\nb", "SELECT x (QRESYNC (7 90 1:5 (1,3 4:5)))", `LIST (SUBSCRIBED) "" ("a" %) RETURN (STATUS (SIZE))`,
		"UID SEARCH RETURN (SAVE) CHARSET UTF-8 NOT (OR FROM a 1:2) SINCE 1-Feb-2026 $ HEADER a b",
		"UID FETCH 1:* (BODY.PEEK[1.HEADER.FIELDS (a)]<3.4> BINARY[1]) (CHANGEDSINCE 5 VANISHED)",
		"STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT (\\Seen $x)", "MOVE 1 x", `ID ("a" NIL)`, "AUTHENTICATE PLAIN =",
		"CREATE x (USE (\\Sent))", "STATUS x (SIZE)", "ENABLE CONDSTORE", "COMPRESS DEFLATE",
	} {
		f.Add([]byte("a " + line + "\r\n"))
	}
	f.Fuzz(checkParse)
}

func FuzzParseAppend(f *testing.F) {
	f.Add([]byte("a APPEND {3}\r\na b (\\Seen) \" 1-Feb-2026 03:04:05 +0000\" {99+}\r\n"))
	f.Add([]byte("a APPEND x UTF8 (~{9}\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, m, err := ParseAppend(b)
		if err == nil && (m.Literal.Size < 0 || m.UTF8 && !m.Literal.Binary) {
			t.Fatalf("%q: %+v", b, m)
		}
	})
}

func FuzzParseAppendNext(f *testing.F) {
	f.Add([]byte(" (\\Seen) {5}\r\n"), false)
	f.Add([]byte(")\r\n"), true)
	f.Fuzz(func(t *testing.T, b []byte, utf8 bool) {
		m, end, err := ParseAppendNext(b, utf8)
		if err == nil && !end && m.Literal.Size < 0 {
			t.Fatalf("%q: %+v", b, m)
		}
	})
}

// TestParse_BoundedAllocation holds that no command costs more than a fixed
// multiple of its own length.
func TestParse_BoundedAllocation(t *testing.T) {
	const size, factor = 64 << 10, 64
	lines := map[string]string{
		"set":    "a FETCH " + strings.Repeat("1,", size/2) + "1 FLAGS\r\n",
		"or":     "a SEARCH " + strings.Repeat("OR ", size/3) + "\r\n",
		"parens": "a SEARCH " + strings.Repeat("(", size) + "\r\n",
		"flags":  "a STORE 1 FLAGS (" + strings.Repeat("a ", size/2) + "a)\r\n",
		"braces": "a LOGIN " + strings.Repeat("{", size) + "\r\n",
		"escape": "a LOGIN \"" + strings.Repeat(`\"`, size/2) + "\" b\r\n",
		"fields": "a FETCH 1 BODY[HEADER.FIELDS (" + strings.Repeat("a ", size/2) + "a)]\r\n",
		"words":  "a ENABLE" + strings.Repeat(" A", size/2) + "\r\n",
	}
	for name, line := range lines {
		b := []byte(line)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Parse(b)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(factor*len(b)) {
			t.Errorf("%s: %d bytes for a command of %d", name, got, len(b))
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, line := range []string{
		"a1 UID FETCH 1:* (FLAGS)", "a2 UID SEARCH RETURN (ALL) UNSEEN SINCE 1-Feb-2026", "a3 UID STORE 5 +FLAGS.SILENT (\\Seen)",
	} {
		b.Run(fmt.Sprintf("%.16s", line), func(b *testing.B) {
			raw := []byte(line + "\r\n")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
