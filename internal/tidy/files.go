package tidy

import (
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Testdata checks that what lies in a testdata folder is named by a test of
// its package: the first level by a string with its name or a pattern of it,
// the inputs of fuzzing by a target.
func Testdata(t *Tree) []Finding {
	var out []Finding
	entries := map[string]bool{} // "internal/x/testdata/y"
	for _, x := range t.Texts {
		if dir, rest, ok := cutTestdata(x.Path); ok {
			first, _, _ := strings.Cut(rest, "/")
			entries[dir+"/"+first] = true
		}
	}
	for dir := range t.Dirs {
		if d, rest, ok := cutTestdata(dir); ok && !strings.Contains(rest, "/") {
			entries[d+"/"+rest] = true
		}
	}
	for _, entry := range slices.Sorted(maps.Keys(entries)) {
		pkg, name := path.Dir(path.Dir(entry)), path.Base(entry)
		p := t.pkg(pkg)
		switch {
		case p == nil:
			out = append(out, Finding{Path: entry, What: "testdata of no package", Mend: "move it to the package whose test reads it"})
		case name == "fuzz":
			out = append(out, t.fuzzInputs(p, entry)...)
		case name == "rapid":
			// where rapid keeps what failed
		case !p.reads(name):
			out = append(out, Finding{Path: entry, What: "no test of " + p.short() + " reads it", Mend: "remove it, or test with it"})
		}
	}
	return out
}

func cutTestdata(name string) (dir, rest string, ok bool) {
	before, rest, ok := strings.Cut("/"+name, "/testdata/")
	return strings.TrimPrefix(before+"/testdata", "/"), rest, ok && rest != ""
}

func (t *Tree) pkg(name string) *Package {
	for _, p := range t.Packages {
		if p.Path == name {
			return p
		}
	}
	return nil
}

func (t *Tree) fuzzInputs(p *Package, entry string) []Finding {
	var out []Finding
	for dir := range t.Dirs {
		target, ok := strings.CutPrefix(dir, entry+"/")
		if !ok || strings.Contains(target, "/") {
			continue
		}
		if !slices.ContainsFunc(p.Files, func(f *File) bool {
			return f.Test && slices.ContainsFunc(funcs(f), func(fn *ast.FuncDecl) bool { return fn.Name.Name == target })
		}) {
			out = append(out, Finding{Path: dir, What: "inputs of a fuzz target that is gone", Mend: "remove them, or rename them with the target"})
		}
	}
	return out
}

// reads tells whether a string of a package's tests may name an entry of its
// testdata.
func (p *Package) reads(entry string) bool {
	found := false
	for _, f := range p.Files {
		if !f.Test {
			continue
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || found {
				return !found
			}
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				return true
			}
			for part := range strings.SplitSeq(s, "/") {
				if ok, err := path.Match(part, entry); ok && err == nil && strings.Trim(part, "*?.") != "" {
					found = true
				}
			}
			return true
		})
	}
	return found
}

// Paths checks that no file names a place that is on one machine only.
func Paths(t *Tree) []Finding {
	place := regexp.MustCompile(`(^|[\s"'` + "`" + `=:(<,])(/(?:home|root|Users|work)/[A-Za-z0-9._-]+|[A-Z]:\\Users\\)`)
	var out []Finding
	for _, x := range t.Texts {
		if inTestdata(x.Path) {
			continue // mail of others, with whatever paths they had
		}
		for i, line := range strings.Split(string(x.Data), "\n") {
			if m := place.FindStringSubmatch(line); m != nil {
				out = append(out, Finding{Path: x.Path, Line: i + 1, What: "a path of somebody's machine: " + m[2],
					Mend: "write it relative to the module, or make a temporary folder"})
			}
		}
	}
	return out
}
