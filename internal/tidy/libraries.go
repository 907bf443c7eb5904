package tidy

import (
	"slices"
	"strings"
)

// Library says where a module of others may be imported: by packages' short
// paths, or anywhere for "*", or by tests only for "tests".
type Library struct {
	Module string
	In     []string
}

// Libraries checks the imports that are neither ours nor the standard library's.
func Libraries(t *Tree, libs []Library, support []string) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				full := strings.Trim(spec.Path.Value, `"`)
				first, _, _ := strings.Cut(full, "/")
				if full == t.Module || strings.HasPrefix(full, t.Module+"/") || !strings.Contains(first, ".") {
					continue
				}
				i := slices.IndexFunc(libs, func(l Library) bool { return full == l.Module || strings.HasPrefix(full, l.Module+"/") })
				if i < 0 {
					out = append(out, t.at(spec.Pos(), full+" is of a module that no decision knows",
						"do without it; or write a decision, and add the module to internal/tidy/libraries_table.go"))
					continue
				}
				if f.Test || !p.product() || slices.Contains(support, p.short()) || slices.Contains(libs[i].In, "*") || slices.Contains(libs[i].In, p.short()) {
					continue
				}
				out = append(out, t.at(spec.Pos(), p.short()+" may not import "+libs[i].Module,
					"leave it to "+strings.Join(libs[i].In, ", ")+"; or widen its line in internal/tidy/libraries_table.go"))
			}
		}
	}
	return out
}

// Decided checks that each direct dependency of go.mod is in the table and
// has a decision: its name stands in a file of docs/decisions.
func Decided(t *Tree, libs []Library) []Finding {
	var out []Finding
	for _, m := range t.requires() {
		if !slices.ContainsFunc(libs, func(l Library) bool { return l.Module == m }) {
			out = append(out, Finding{Path: "go.mod", What: m + " is not in internal/tidy/libraries_table.go",
				Mend: "say there which packages may import it"})
		}
		if !slices.ContainsFunc(t.Texts, func(x Text) bool {
			return strings.HasPrefix(x.Path, "docs/decisions/") && strings.Contains(string(x.Data), m)
		}) {
			out = append(out, Finding{Path: "go.mod", What: m + " has no decision",
				Mend: "write in docs/decisions why it is used, what was rejected, and what follows"})
		}
	}
	return out
}

// requires lists the modules that go.mod requires directly.
func (t *Tree) requires() []string {
	var out []string
	for _, x := range t.Texts {
		if x.Path != "go.mod" {
			continue
		}
		for line := range strings.Lines(string(x.Data)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "require ")
			fields := strings.Fields(line)
			if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && strings.Contains(fields[0], ".") {
				out = append(out, fields[0])
			}
		}
	}
	return out
}
