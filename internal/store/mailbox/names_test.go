package mailbox

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCleanName(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"INBOX", "INBOX"},
		{"inbox", "INBOX"},
		{"iNbOx/Sub", "INBOX/Sub"},
		{"Inboxes", "Inboxes"},
		{"A/inbox", "A/inbox"},
		{"Gru\u0308ße", "Grüße"}, // NFC
		{"Work & Play/2024", "Work & Play/2024"},
		{strings.Repeat("a", levelBytesMax), strings.Repeat("a", levelBytesMax)},
		{"", ""},
		{"/A", ""},
		{"A/", ""},
		{"A//B", ""},
		{"A%", ""},
		{"A*B", ""},
		{"A\tB", ""},
		{"A\x00", ""},
		{"A\u0085", ""},
		{"A\u2028B", ""},
		{"\xff\xfe", ""},
		{"\ufffd", ""},
		{strings.Repeat("a", levelBytesMax+1), ""},
		{strings.Repeat("a/", depthMax) + "a", ""},
		{strings.Repeat(strings.Repeat("a", 100)+"/", 10) + "a", ""},
	} {
		got, err := CleanName(c.in)
		if got != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("CleanName(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"INBOX", "a/b", "\u1e9b\u0323", "inbox/\u0344", "A//B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := CleanName(s)
		if err != nil {
			return
		}
		if again, err := CleanName(n); again != n || err != nil {
			t.Errorf("CleanName(%q) = %q, which becomes %q, %v", s, n, again, err)
		}
	})
}

func TestSplitFlags(t *testing.T) {
	f, ks, err := splitFlags([]string{`\seen`, "$Junk", `\DELETED`, "$junk", "x"})
	if f != FlagSeen|FlagDeleted || !slices.Equal(ks, []string{"$Junk", "x"}) || err != nil {
		t.Errorf("splitFlags gave %b, %v, %v", f, ks, err)
	}
	for _, bad := range []string{"", `\Recent`, `\*`, "a b", "a(b", "a\"b", "ü", "a]", "a%", strings.Repeat("x", keywordBytesMax+1)} {
		if _, _, err := splitFlags([]string{bad}); !errors.Is(err, ErrFlag) {
			t.Errorf("flag %q: %v", bad, err)
		}
	}
}

func TestUIDSet(t *testing.T) {
	s := newUIDSet([]UID{1, 2, 3, 3, 7, 9, 10})
	if want := (uidSet{{1, 3}, {7, 7}, {9, 10}}); !slices.Equal(s, want) {
		t.Fatalf("newUIDSet gave %v", s)
	}
	if got := slices.Collect(s.all()); !slices.Equal(got, []UID{1, 2, 3, 7, 9, 10}) {
		t.Errorf("all gave %v", got)
	}
	last := uidSet{{uidMax, uidMax}}
	if got := slices.Collect(last.all()); len(got) != 1 {
		t.Errorf("the last UID gave %v", got)
	}
	for _, c := range []struct {
		in   []uidRange
		next UID
		want uidSet
	}{
		{[]uidRange{{5, 9}, {1, 2}, {3, 3}, {8, 20}}, 100, uidSet{{1, 3}, {5, 20}}},
		{[]uidRange{{1, uidMax}}, 4, uidSet{{1, 3}}},
		{[]uidRange{{4, 9}}, 4, nil},
		{[]uidRange{{1, uidMax}}, 0, uidSet{{1, uidMax}}},
	} {
		if got := normalize(c.in, c.next); !slices.Equal(got, c.want) {
			t.Errorf("normalize(%v, %d) = %v, want %v", c.in, c.next, got, c.want)
		}
	}
	for _, c := range []struct {
		uids []UID
		in   uidRange
		want uidSet
	}{
		{nil, uidRange{1, 3}, uidSet{{1, 3}}},
		{[]UID{1, 3}, uidRange{1, 3}, uidSet{{2, 2}}},
		{[]UID{2}, uidRange{1, 4}, uidSet{{1, 1}, {3, 4}}},
		{[]UID{uidMax}, uidRange{uidMax - 1, uidMax}, uidSet{{uidMax - 1, uidMax - 1}}},
	} {
		var es []Entry
		for _, u := range c.uids {
			es = append(es, Entry{UID: u})
		}
		if got := gaps(es, c.in); !slices.Equal(got, c.want) {
			t.Errorf("gaps(%v, %v) = %v, want %v", c.uids, c.in, got, c.want)
		}
	}
}
