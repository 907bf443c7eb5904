package tidy

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/printer"
	"regexp"
	"slices"
	"strings"
)

// Limit is a constant that bounds something.
type Limit struct {
	Package string
	Name    string
	Value   string // as it stands in the source
	Reason  string // first sentence of its comment
	spec    *ast.ValueSpec
}

// Limits lists the constants whose names say that they bound something: with
// max, min, limit or timeout at their beginning or end.
func Limits(t *Tree, support []string) []Limit {
	bounds := regexp.MustCompile(`^(max|Max|min|Min)[A-Z]|(Max|Min|Limit|Timeout)(Default)?$`)
	var out []Limit
	for _, p := range t.Packages {
		if !p.product() || oneOf(p.short(), append(support, "tidy")...) {
			continue
		}
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, d := range f.Syntax.Decls {
				gen, ok := d.(*ast.GenDecl)
				if !ok || gen.Tok.String() != "const" {
					continue
				}
				for _, s := range gen.Specs {
					v := s.(*ast.ValueSpec)
					for i, n := range v.Names {
						if bounds.MatchString(n.Name) && i < len(v.Values) && !mentions(v.Values[i], "iota") {
							out = append(out, Limit{Package: p.short(), Name: n.Name, Value: t.source(v.Values[i]), Reason: t.reason(gen, v), spec: v})
						}
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Limit) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (t *Tree) source(e ast.Expr) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, t.fset, e); err != nil {
		return "?"
	}
	return b.String()
}

// reason is the first sentence of a constant's comment; if it has none, that
// of the line above it, or of the whole declaration.
func (t *Tree) reason(gen *ast.GenDecl, v *ast.ValueSpec) string {
	doc := gen.Doc
	var above *ast.ValueSpec
	for _, s := range gen.Specs {
		s := s.(*ast.ValueSpec)
		adjoins := above != nil && s.Doc == nil && t.line(s.Pos()) == t.line(above.End())+1
		switch {
		case s.Doc != nil:
			doc = s.Doc
		case s.Comment != nil:
			doc = s.Comment
		case !adjoins:
			doc = gen.Doc
		}
		if s == v {
			break
		}
		above = s
	}
	text := strings.Join(strings.Fields(doc.Text()), " ")
	if about, _, _ := strings.Cut(text, " "); declares(gen, about) && !strings.Contains(text, v.Names[0].Name) {
		return "" // the comment of another
	}
	for i := range len(text) - 1 {
		// A sentence ends at a period before a capital; "§4.5" and "e.g." do not.
		if text[i] == '.' && text[i+1] == ' ' && i+2 < len(text) && text[i+2] >= 'A' && text[i+2] <= 'Z' {
			return text[:i]
		}
	}
	return strings.TrimSuffix(text, ".")
}

// declares tells whether a declaration has a constant of that name.
func declares(gen *ast.GenDecl, name string) bool {
	for _, s := range gen.Specs {
		for _, n := range s.(*ast.ValueSpec).Names {
			if n.Name == strings.TrimRight(name, ",:") {
				return true
			}
		}
	}
	return false
}

const (
	limitsPage  = "docs/limits.md"
	limitsBegin = "<!-- made by: go test ./internal/tidy -update -->\n"
	limitsEnd   = "<!-- end of what is made -->\n"
)

// LimitReasons checks that each limit says why.
func LimitReasons(t *Tree, limits []Limit) []Finding {
	var out []Finding
	for _, l := range limits {
		if l.Reason == "" {
			out = append(out, t.at(l.spec.Pos(), "the limit "+l.Name+" has no reason",
				"say in a comment what it bounds, in which unit, and why it is this"))
		}
	}
	return out
}

// LimitsPage puts the table of limits into a page, in place of the one there.
func LimitsPage(page string, limits []Limit) (string, error) {
	before, rest, ok := strings.Cut(page, limitsBegin)
	_, after, ok2 := strings.Cut(rest, limitsEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("%s has no place for the table", limitsPage)
	}
	var b strings.Builder
	b.WriteString(before + limitsBegin)
	last := ""
	for _, l := range limits {
		if l.Package != last {
			fmt.Fprintf(&b, "\n### %s\n\n| constant | value | what and why |\n|---|---|---|\n", l.Package)
			last = l.Package
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", l.Name, l.Value, strings.ReplaceAll(l.Reason, "|", `\|`))
	}
	b.WriteString("\n" + limitsEnd + after)
	return b.String(), nil
}
