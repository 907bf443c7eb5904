package tidy

import (
	"fmt"
	"go/ast"
	"path"
	"strings"
)

const (
	docLinesMin = 20
	docLinesMax = 60
)

// PackageDoc checks that each package has one package doc, in doc.go, that
// begins as Go wants and is neither a line nor a book.
func PackageDoc(t *Tree) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		if !p.hasCode() {
			continue
		}
		found := false
		for _, f := range p.Files {
			doc := f.Syntax.Doc
			if doc == nil || strings.TrimSpace(doc.Text()) == "" {
				continue
			}
			if f.Test || path.Base(f.Path) != "doc.go" {
				out = append(out, t.at(doc.Pos(), "a package doc outside doc.go",
					"move it to doc.go, or put a blank line between the comment and the package clause"))
				continue
			}
			found = true
			out = append(out, t.docShape(f, doc)...)
		}
		if !found {
			out = append(out, Finding{Path: p.Path, What: "no package doc",
				Mend: "write doc.go: what it does, why it exists apart, where it stands in the flow, invariants, concurrency, limits, RFCs"})
		}
	}
	return out
}

func (t *Tree) docShape(f *File, doc *ast.CommentGroup) []Finding {
	var out []Finding
	begin := "Package " + f.Syntax.Name.Name + " "
	text := strings.ReplaceAll(doc.Text(), "\n", " ")
	if f.Syntax.Name.Name == "main" { // "Breakwater runs …", as go doc prefers, or "Command breakwater …"
		begin = path.Base(f.Package.Path) + " "
		text = strings.TrimPrefix(text, "Command ")
	}
	if len(text) < len(begin) || !strings.EqualFold(text[:len(begin)], begin) {
		out = append(out, t.at(doc.Pos(), "the package doc does not begin with "+strings.TrimSpace(begin),
			"begin it with this and what it does"))
	}
	lines := t.line(doc.End()) - t.line(doc.Pos()) + 1
	if lines < docLinesMin || lines > docLinesMax {
		out = append(out, t.at(doc.Pos(), fmt.Sprintf("the package doc has %d lines", lines),
			fmt.Sprintf("make it %d to %d: what, why apart, place in the flow, invariants, concurrency, limits, RFCs", docLinesMin, docLinesMax)))
	}
	return out
}
