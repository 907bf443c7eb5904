package account

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

var update = flag.Bool("update", false, "rewrite golden files")

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// everyChange has each operation with every field.
func everyChange() []change {
	creds := credentials{
		hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
		scram: scramKeys{salt: []byte("scram salt octet"), iterations: 65536,
			stored: bytes.Repeat([]byte{0x11}, 32), server: bytes.Repeat([]byte{0x22}, 32)},
	}
	full := Settings{Admin: true, Disabled: true, QuotaBytes: 5 << 30}
	return []change{
		{op: opReset},
		{op: opSecret, secret: bytes.Repeat([]byte{0x33}, 32)},
		{op: opNextID, id: 300},
		{op: opDomain, domain: "demo.test", created: 1790000000},
		{op: opDomainRemoved, domain: "xn--bcher-kva.test"},
		{op: opAccount, id: 1, address: addr("one@demo.test"), created: 1790000001, settings: full, creds: creds},
		{op: opAccount, id: 2, address: addr(`"a b"@demo.test`), created: 1790000002},
		{op: opAccountRemoved, id: 2},
		{op: opCredentials, id: 1, creds: creds},
		{op: opCredentials, id: 1, creds: credentials{hash: creds.hash}},
		{op: opSettings, id: 1, settings: full},
		{op: opSettings, id: 1},
		{op: opAlias, address: addr("sales@demo.test"), targets: []message.Address{addr("one@demo.test"), addr("two@demo.test")}},
		{op: opAlias, domain: "demo.test", targets: []message.Address{addr("one@demo.test")}},
		{op: opAliasRemoved, address: addr("sales@demo.test")},
		{op: opAliasRemoved, domain: "demo.test"},
		{op: opCredentials, id: 1, creds: credentials{hash: creds.hash}, renewed: true},
		{op: opSettings, id: 1, settings: Settings{SendHour: 50, SendDay: 300, Contact: addr("owner@example.org")}},
		{op: opHold, id: 1, created: 1790000003, reason: "140 recipients in 6 minutes"},
		{op: opHoldEnded, id: 1},
		{op: opForward, id: 1, targets: []message.Address{addr("two@demo.test"), addr("One@example.org")}, noCopy: true},
		{op: opForward, id: 1},
		{op: opGrant, id: 1, address: addr("sales@demo.test")},
		{op: opGrant, id: 1, domain: "example.org"},
		{op: opGrantRevoked, id: 1, address: addr("sales@demo.test")},
		{op: opGrantRevoked, id: 1, domain: "example.org"},
		{op: opAppPassword, id: 1, created: 1790000004, label: "telephone",
			app: appKey{scope: SMTP | IMAP, salt: []byte("sixteen octets .."), hash: bytes.Repeat([]byte{0x44}, 32)}},
		{op: opAppUsed, id: 1, created: 1790000040, label: "telephone"},
		{op: opAppRemoved, id: 1, label: "telephone"},
		{op: opAppRemoved, id: 1},
	}
}

// TestRecords_frozen compares every operation's octets with the golden file.
func TestRecords_frozen(t *testing.T) {
	var got bytes.Buffer
	for _, c := range everyChange() {
		b := appendChange(nil, c)
		fmt.Fprintf(&got, "%#x %s\n", c.op, hex.EncodeToString(b))
		back, err := decodeChanges(b)
		if err != nil || len(back) != 1 || !reflect.DeepEqual(back[0], c) {
			t.Errorf("%+v comes back as %+v, %v", c, back, err)
		}
	}
	name := filepath.Join("testdata", "records.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the format of account records is frozen, and changed:\n%s", got.String())
	}
}

func TestDecodeChanges_refuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"unknown operation":         appendChange(nil, change{op: 0x1ff, id: 1}),
		"account without ID":        appendChange(nil, change{op: opAccount, address: addr("a@b.test")}),
		"alias no target":           appendChange(nil, change{op: opAlias, address: addr("a@b.test")}),
		"alias no name":             appendChange(nil, change{op: opAlias, targets: []message.Address{addr("a@b.test")}}),
		"domain no name":            appendChange(nil, change{op: opDomain}),
		"hold without a time":       appendChange(nil, change{op: opHold, id: 1, reason: "x"}),
		"hold of nobody":            appendChange(nil, change{op: opHold, created: 1}),
		"forward of nobody":         appendChange(nil, change{op: opForward}),
		"grant of nothing":          appendChange(nil, change{op: opGrant, id: 1}),
		"revoked of nothing":        appendChange(nil, change{op: opGrantRevoked, id: 1}),
		"app password without name": appendChange(nil, change{op: opAppPassword, id: 1, app: appKey{salt: []byte{1}, hash: []byte{1}}}),
		"app password without hash": appendChange(nil, change{op: opAppPassword, id: 1, label: "x"}),
		"use without time":          appendChange(nil, change{op: opAppUsed, id: 1, label: "x"}),
		"bad address":               {0x85, 0x02, 5, fieldAddress, 3, 'a', '@', 0},
		"bad number":                {0x85, 0x02, 3, fieldID, 1, 0x80},
		"cut value":                 {0x85, 0x02, 9, 1},
		"cut field":                 {0x85, 0x02, 2, 1, 9},
	} {
		if c, err := decodeChanges(b); err == nil {
			t.Errorf("%s: decoded as %+v", name, c)
		}
	}
	other := appendChange(nil, change{op: 0x200, id: 1})
	if c, err := decodeChanges(other); err != nil || len(c) != 0 {
		t.Errorf("another view's operation: %+v, %v", c, err)
	}
	if s := (*Store)(nil); s.Owns(0x200) || !s.Owns(opReset) {
		t.Error("Owns")
	}
}

func FuzzDecodeChanges(f *testing.F) {
	var all []byte
	for _, c := range everyChange() {
		b := appendChange(nil, c)
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		changes, err := decodeChanges(b)
		if err != nil {
			return
		}
		var out []byte
		dir := newDirectory()
		for _, c := range changes {
			out = appendChange(out, c)
			dir.apply(c)
		}
		again, err := decodeChanges(out)
		if err != nil || len(again) != len(changes) {
			t.Fatalf("%+v comes back as %+v, %v", changes, again, err)
		}
		for i := range again {
			if x, y := appendChange(nil, again[i]), appendChange(nil, changes[i]); !bytes.Equal(x, y) {
				t.Fatalf("%+v comes back as %+v", changes[i], again[i])
			}
		}
	})
}
