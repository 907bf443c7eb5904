package mailbox

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampleMessage and sampleOps have every field of every record that we write.
func sampleMessage() messageFacts {
	return messageFacts{
		id: "01J0000000ENVELOPE", from: "from@example.org", received: 1700000000123456, prefix: 321,
		filings: []filingFact{
			{account: 1, mailbox: 7, uid: 42, modSeq: 1001, flags: FlagSeen | 1<<5, rcpt: "one@example.org", keywords: []keyword{{5, "$Junk"}}},
			{account: 2, mailbox: 300, uid: 1, modSeq: 2},
		},
	}
}

func sampleOps() []any {
	entries := []Entry{
		{UID: 3, Size: 4096, ModSeq: 9, Flags: FlagSeen, Message: 1<<40 + 5, Date: 1700000000},
		{UID: 4, Size: 17, ModSeq: 9, Flags: 1 << 63, Message: 1<<40 + 2, Date: -1},
	}
	return []any{
		&createOp{account: 1, mailbox: 7, name: "Grüße/2024", use: `\Archive`, uidValidity: 1700000001},
		&renameOp{mailbox: 7, name: "Post"},
		&deleteOp{mailbox: 7, at: 1700000002},
		&subscribeOp{account: 1, name: "Post", on: true},
		&subscribeOp{account: 1, name: "Post"},
		&flagsOp{mailbox: 7, modSeq: 10, uids: uidSet{{1, 1}, {5, 900}}, clear: ^FlagSeen, set: FlagSeen, keywords: []keyword{{6, "todo"}}},
		&expungeOp{mailbox: 7, modSeq: 11, uids: uidSet{{2, 4}}, at: 1700000003},
		&fileOp{account: 1, mailbox: 7, modSeq: 9, keywords: []keyword{{7, "x"}}, entries: entries},
		&mailboxState{account: 1, mailbox: 7, name: "Post", use: `\Sent`, uidValidity: 5, uidNext: 901, modSeq: 12, keywords: []keyword{{5, "a"}, {6, "b"}}},
		&mailboxState{account: 1, mailbox: 8, gone: true, at: 1700000004},
		&entriesState{account: 1, mailbox: 7, gone: uidSet{{1, 2}, {7, uidMax}}, at: 1700000005, entries: entries},
		&subscribeState{subscribeOp{account: 1, name: "Post", on: true}},
		&floorsState{nextID: 9, uidValidity: 1700000006},
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(messageFacts{}, filingFact{}, keyword{}, createOp{}, renameOp{}, deleteOp{},
		subscribeOp{}, flagsOp{}, expungeOp{}, fileOp{}, mailboxState{}, entriesState{}, floorsState{}, uidRange{})); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

// The bytes of records are frozen: what is written today must be read for ever.
func TestFormat_Golden(t *testing.T) {
	var out bytes.Buffer
	m := sampleMessage()
	fmt.Fprintf(&out, "message\n%s\n", hex.Dump(m.append(nil)))
	for _, op := range sampleOps() {
		fmt.Fprintf(&out, "%T\n%s\n", op, hex.Dump(appendOp(nil, op)))
	}
	name := filepath.Join("testdata", "records.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Errorf("the format has changed (golden -, now +):\n%s", d)
	}
}

func TestFormat_RoundTrip(t *testing.T) {
	m := sampleMessage()
	got, err := decodeMessage(m.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "message", got, m)
	for _, op := range sampleOps() {
		ops, rest, err := decodeOps(appendOp(nil, op))
		if err != nil || rest != 0 || len(ops) != 1 {
			t.Fatalf("%T: %v, rest %d, %v", op, ops, rest, err)
		}
		if s, ok := op.(*subscribeState); ok {
			op = &s.subscribeOp
		}
		equal(t, fmt.Sprintf("%T", op), ops[0], op)
	}
}

func TestFormat_UnknownIsKeptApart(t *testing.T) {
	b := journal.AppendString(nil, 0x101, "of accounts")
	if ops, rest, err := decodeOps(b); len(ops) != 0 || rest != restOthers || err != nil {
		t.Errorf("other view's: %v, %d, %v", ops, rest, err)
	}
	b = journal.AppendString(nil, 0x2fe, "")
	if ops, rest, err := decodeOps(b); len(ops) != 0 || rest != restUnknown || err != nil {
		t.Errorf("of a newer version: %v, %d, %v", ops, rest, err)
	}
	op := journal.AppendUint(nil, fieldMailbox, 7)
	op = journal.AppendString(op, 0x7f, "a field of a newer version")
	if ops, _, err := decodeOps(journal.AppendField(nil, tagRename, op)); err != nil || ops[0].(*renameOp).mailbox != 7 {
		t.Errorf("unknown field: %v, %v", ops, err)
	}
}

func FuzzDecodeOps(f *testing.F) {
	var all []byte
	for _, op := range sampleOps() {
		f.Add(appendOp(nil, op))
		all = appendOp(all, op)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, _, err := decodeOps(b)
		if err != nil {
			return
		}
		var again []byte
		for _, op := range ops {
			again = appendOp(again, op)
		}
		ops2, rest, err := decodeOps(again)
		if err != nil || rest != 0 {
			t.Fatalf("cannot read back what was read: %v", err)
		}
		equal(t, "read back", ops2, ops)
	})
}

func FuzzDecodeMessage(f *testing.F) {
	m := sampleMessage()
	f.Add(m.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		again, err := decodeMessage(m.append(nil))
		if err != nil {
			t.Fatalf("cannot read back what was read: %v", err)
		}
		equal(t, "read back", again, m)
	})
}
