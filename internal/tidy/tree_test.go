package tidy

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/limits.md")

const module = "github.com/breakwater-mail/breakwater"

// variablesAllowed are the package variables that look like state and are none.
func variablesAllowed() map[string]string {
	return map[string]string{}
}

// TestTree holds every rule against the whole module.
func TestTree(t *testing.T) {
	root := filepath.Join("..", "..")
	tree, err := Load(os.DirFS(root), module)
	if err != nil {
		t.Fatal(err)
	}
	graph, err := ParseDAG(Graph)
	if err != nil {
		t.Fatal(err)
	}
	ratchet, err := ParseRatchet(read(t, "ratchet.txt"))
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits(tree, Support())
	rules := []struct {
		name string
		find func() []Finding
	}{
		{"imports", func() []Finding { return Imports(tree, graph) }},
		{"testonly", func() []Finding { return TestOnly(tree, Support()) }},
		{"powers", func() []Finding { return Powers(tree, Grants(), Support()) }},
		{"libraries", func() []Finding { return Libraries(tree, LibraryTable(), Support()) }},
		{"decisions", func() []Finding { return Decided(tree, LibraryTable()) }},
		{"packagedoc", func() []Finding { return PackageDoc(tree) }},
		{"length", func() []Finding { return Length(tree, ratchet) }},
		{"logkeys", func() []Finding { return LogKeys(tree) }},
		{"fuzz", func() []Finding { return FuzzTargets(tree, Support()) }},
		{"calls", func() []Finding { return Calls(tree) }},
		{"variables", func() []Finding { return Variables(tree, variablesAllowed()) }},
		{"links", func() []Finding { return Links(tree) }},
		{"testdata", func() []Finding { return Testdata(tree) }},
		{"paths", func() []Finding { return Paths(tree) }},
		{"deviations", func() []Finding { return Deviations(tree) }},
		{"limits", func() []Finding { return LimitReasons(tree, limits) }},
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, f := range r.find() {
				t.Errorf("%s", f)
			}
		})
	}
	t.Run("limitspage", func(t *testing.T) { limitsPageFresh(t, filepath.Join(root, filepath.FromSlash(limitsPage)), limits) })
}

func limitsPageFresh(t *testing.T, name string, limits []Limit) {
	page := read(t, name)
	fresh, err := LimitsPage(page, limits)
	if err != nil {
		t.Fatal(err)
	}
	if fresh == page {
		return
	}
	if !*update {
		t.Errorf("%s: its table is not that of the constants\n\tmend: go test ./internal/tidy -update, and read the difference", limitsPage)
		return
	}
	if err := os.WriteFile(name, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\r\n", "\n")
}
