package tidy

import (
	"slices"
	"strings"
)

// Imports checks what packages import of the module against a graph. Test
// files and tools are free to import any package; nobody may import a tool. A package that the graph does not
// know is a finding, and so is a name in the graph that is no package.
func Imports(t *Tree, d *DAG) []Finding {
	var out []Finding
	known := d.Packages()
	for _, p := range t.Packages {
		if !p.hasCode() || !p.product() {
			continue
		}
		if !slices.Contains(known, p.short()) {
			out = append(out, Finding{Path: p.Path, What: "the import graph does not know this package",
				Mend: "add " + p.short() + " to a rule of internal/tidy/graph.go, as low as it can stand"})
			continue
		}
		for _, f := range p.Files {
			if !f.Test {
				out = append(out, t.foreign(d, p, f)...)
			}
		}
	}
	for _, name := range known {
		if !slices.ContainsFunc(t.Packages, func(p *Package) bool { return p.short() == name && p.hasCode() }) {
			out = append(out, Finding{Path: "internal/tidy/graph.go", What: "the import graph names " + name + ", which is no package",
				Mend: "take it out of the rules"})
		}
	}
	return out
}

func (t *Tree) foreign(d *DAG, p *Package, f *File) []Finding {
	var out []Finding
	for _, spec := range f.Syntax.Imports {
		full := strings.Trim(spec.Path.Value, `"`)
		rel, ok := strings.CutPrefix(full, t.Module+"/")
		if !ok {
			continue
		}
		to := strings.TrimPrefix(rel, "internal/")
		if !d.Allows(p.short(), to) {
			out = append(out, t.at(spec.Pos(), p.short()+" may not import "+to,
				"have it handed in by the importer, through an interface of its own; or, if the design changes, change internal/tidy/graph.go and say why in a decision"))
		}
	}
	return out
}

// TestOnly checks that test support is imported by test files and other test
// support only.
func TestOnly(t *Tree, support []string) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		if slices.Contains(support, p.short()) {
			continue
		}
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, spec := range f.Syntax.Imports {
				rel := strings.TrimPrefix(strings.Trim(spec.Path.Value, `"`), t.Module+"/internal/")
				if slices.Contains(support, rel) {
					out = append(out, t.at(spec.Pos(), rel+" is for tests",
						"import it in _test.go files only"))
				}
			}
		}
	}
	return out
}

// hasCode tells whether a package has a file that is no test.
func (p *Package) hasCode() bool {
	return slices.ContainsFunc(p.Files, func(f *File) bool { return !f.Test })
}
