package tidy

import (
	"strings"
	"testing"
)

func TestParseDAG_order(t *testing.T) {
	d, err := ParseDAG(`
		NONE < a, b; # the bottom
		a < c < d;
		b, c < TOP < e;
		b !< a, d;
		NONE < late < a;`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"c", "a", true}, {"d", "a", true}, {"e", "b", true}, {"e", "a", true}, {"e", "d", false},
		{"a", "c", false}, {"a", "b", false}, {"d", "b", false}, {"a", "a", false}, {"x", "a", false},
		{"d", "late", true}, // what a may import is reached by those above a, said before or after
	} {
		if got := d.Allows(c.from, c.to); got != c.want {
			t.Errorf("%s may import %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
	if got := strings.Join(d.Packages(), " "); got != "a b c d e late" {
		t.Errorf("packages %q", got)
	}
}

func TestParseDAG_refuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a < b;", "has to stand on the right"},
		{"NONE < a; a < b; b < a;", "would import itself"},
		{"NONE < a; a < a;", "would import itself"},
		{"NONE < a < b < c; a !< c;", `let "c" import "a"`},
		{"NONE < a; a !< nowhere;", "is in no other rule"},
		{"NONE < a; a b < c;", "is no name"},
		{"NONE < a; a, < c;", "is no name"},
		{"NONE;", "there is no <"},
		{"NONE < a; a < NONE;", "only stand on the left"},
	} {
		if _, err := ParseDAG(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseDAG(%q): %v, want …%s…", c.text, err, c.want)
		}
	}
}

func FuzzParseDAG(f *testing.F) {
	f.Add("NONE < a, b; a < c < D; b !< c; # end")
	f.Add("a < ;!<,")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDAG(text)
		if err != nil {
			return
		}
		for _, n := range d.Packages() {
			if d.Allows(n, n) {
				t.Errorf("%q may import itself by %q", n, text)
			}
		}
	})
}

func FuzzParseRatchet(f *testing.F) {
	f.Add("internal/a:f 71 # long\n\n")
	f.Add("a b c")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRatchet(text)
		if err == nil && len(r) > strings.Count(text, "\n")+1 {
			t.Errorf("%d entries of %q", len(r), text)
		}
	})
}
