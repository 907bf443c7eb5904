package tidy

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

// TestRules shows each rule on small trees. testdata/rules/<rule>_<case>.txtar
// holds a tree, the lists that the rule takes (files that begin with a dot),
// and in .want what it finds: `path:line: what`, none if all is well.
func TestRules(t *testing.T) {
	names, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	failing := map[string]bool{}
	for _, name := range names {
		label := strings.TrimSuffix(filepath.Base(name), ".txtar")
		rule, _, _ := strings.Cut(label, "_")
		t.Run(label, func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if rule == "paths" { // written with % in between, so that the case breaks no rule itself
				for i, f := range archive.Files {
					archive.Files[i].Data = bytes.ReplaceAll(f.Data, []byte("%"), nil)
				}
			}
			tree, lists := fixture(t, archive)
			var got []string
			for _, f := range apply(t, rule, tree, lists) {
				if f.Mend == "" {
					t.Errorf("the finding does not say how to mend it: %s", f)
				}
				got = append(got, strings.SplitN(f.String(), "\n", 2)[0])
			}
			slices.Sort(got)
			want := lists.lines("want")
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			failing[rule] = failing[rule] || len(got) > 0
		})
	}
	for rule := range applicable() {
		if !failing[rule] {
			t.Errorf("no case shows that the rule %s can fail", rule)
		}
	}
}

// lists are the files of a case whose names begin with a dot.
type lists map[string]string

func (l lists) lines(name string) []string {
	return slices.DeleteFunc(strings.Split(l[name], "\n"), func(s string) bool { return s == "" })
}

func fixture(t *testing.T, a *txtar.Archive) (*Tree, lists) {
	files, lists := fstest.MapFS{}, lists{}
	for _, f := range a.Files {
		if name, ok := strings.CutPrefix(f.Name, "."); ok {
			lists[name] = string(f.Data)
			continue
		}
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	tree, err := Load(fs.FS(files), "m")
	if err != nil {
		t.Fatal(err)
	}
	return tree, lists
}

func applicable() map[string]func(*testing.T, *Tree, lists) []Finding {
	return map[string]func(*testing.T, *Tree, lists) []Finding{
		"imports": func(t *testing.T, x *Tree, l lists) []Finding {
			d, err := ParseDAG(l["graph"])
			if err != nil {
				t.Fatal(err)
			}
			return Imports(x, d)
		},
		"testonly": func(t *testing.T, x *Tree, l lists) []Finding { return TestOnly(x, l.lines("support")) },
		"powers": func(t *testing.T, x *Tree, l lists) []Finding {
			var grants []Grant
			for _, line := range l.lines("grants") {
				f := strings.SplitN(line, " ", 3)
				grants = append(grants, Grant{f[0], f[1], f[2]})
			}
			return Powers(x, grants, l.lines("support"))
		},
		"libraries":  func(t *testing.T, x *Tree, l lists) []Finding { return Libraries(x, l.libraries(), nil) },
		"decisions":  func(t *testing.T, x *Tree, l lists) []Finding { return Decided(x, l.libraries()) },
		"packagedoc": func(t *testing.T, x *Tree, l lists) []Finding { return PackageDoc(x) },
		"length": func(t *testing.T, x *Tree, l lists) []Finding {
			r, err := ParseRatchet(l["ratchet"])
			if err != nil {
				t.Fatal(err)
			}
			return Length(x, r)
		},
		"logkeys": func(t *testing.T, x *Tree, l lists) []Finding { return LogKeys(x) },
		"fuzz":    func(t *testing.T, x *Tree, l lists) []Finding { return FuzzTargets(x, l.lines("support")) },
		"calls":   func(t *testing.T, x *Tree, l lists) []Finding { return Calls(x) },
		"variables": func(t *testing.T, x *Tree, l lists) []Finding {
			allowed := map[string]string{}
			for _, line := range l.lines("allowed") {
				k, v, _ := strings.Cut(line, " ")
				allowed[k] = v
			}
			return Variables(x, allowed)
		},
		"links":      func(t *testing.T, x *Tree, l lists) []Finding { return Links(x) },
		"testdata":   func(t *testing.T, x *Tree, l lists) []Finding { return Testdata(x) },
		"paths":      func(t *testing.T, x *Tree, l lists) []Finding { return Paths(x) },
		"deviations": func(t *testing.T, x *Tree, l lists) []Finding { return Deviations(x) },
		"limits":     func(t *testing.T, x *Tree, l lists) []Finding { return LimitReasons(x, Limits(x, nil)) },
	}
}

func (l lists) libraries() []Library {
	var out []Library
	for _, line := range l.lines("libraries") {
		f := strings.Fields(line)
		out = append(out, Library{Module: f[0], In: f[1:]})
	}
	return out
}

func apply(t *testing.T, rule string, x *Tree, l lists) []Finding {
	run := applicable()[rule]
	if run == nil {
		t.Fatalf("there is no rule %q", rule)
	}
	return run(t, x, l)
}

// TestLength_longThings shows the lengths at and past their limits; such
// files would be long in testdata.
func TestLength_longThings(t *testing.T) {
	function := func(lines int) string {
		return "func f() {\n" + strings.Repeat("\n", lines-2) + "}\n"
	}
	for _, c := range []struct {
		name    string
		source  string
		ratchet string
		want    string
	}{
		{"function at the limit", function(functionLinesMax), "", ""},
		{"function past it", function(functionLinesMax + 1), "", "internal/a/a.go:3: internal/a:f has 71 lines, 70 are allowed"},
		{"listed function", function(90), "internal/a:f 90", ""},
		{"listed function that grew", function(91), "internal/a:f 90", "internal/a/a.go:3: internal/a:f has 91 lines, 90 are allowed"},
		{"listed function that shrank", function(80), "internal/a:f 90", "internal/a/a.go:3: internal/a:f has shrunk to 80 lines"},
		{"listed function short enough", function(70), "internal/a:f 90", "internal/a/a.go:3: internal/a:f is short enough now"},
		{"file at the limit", strings.Repeat("\n", fileLinesMax-2), "", ""},
		{"file past it", strings.Repeat("\n", fileLinesMax-1), "", "internal/a/a.go: internal/a/a.go has 801 lines, 800 are allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, err := Load(fstest.MapFS{"internal/a/a.go": {Data: []byte("package a\n\n" + c.source)}}, "m")
			if err != nil {
				t.Fatal(err)
			}
			ratchet, err := ParseRatchet(c.ratchet)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range Length(tree, ratchet) {
				got = append(got, strings.SplitN(f.String(), "\n", 2)[0])
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("found %q, want %q", s, c.want)
			}
		})
	}
}

// TestLimitsPage shows that a table is replaced, and nothing around it.
func TestLimitsPage(t *testing.T) {
	page := "# Limits\n" + limitsBegin + "old\n" + limitsEnd + "after\n"
	got, err := LimitsPage(page, []Limit{{Package: "a/b", Name: "xMax", Value: "1 << 10", Reason: "octets | why"}})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("# Limits\n%s\n### a/b\n\n| constant | value | what and why |\n|---|---|---|\n| `xMax` | `1 << 10` | octets \\| why |\n\n%safter\n", limitsBegin, limitsEnd)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := LimitsPage("# Limits\n", nil); err == nil {
		t.Error("a page without a place for the table was taken")
	}
}
