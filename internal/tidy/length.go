package tidy

import (
	"fmt"
	"go/ast"
	"path"
	"strconv"
	"strings"
)

const (
	functionLinesMax = 70
	fileLinesMax     = 800
)

// Ratchet lists what is longer than the rules allow, by the number of lines
// it has now. It may only shrink: an entry must be exact.
type Ratchet map[string]int

// ParseRatchet reads lines of `key lines`; # begins a comment.
func ParseRatchet(text string) (Ratchet, error) {
	r := Ratchet{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("ratchet line %q: not a key and a number", strings.TrimSpace(line))
		}
		n, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("ratchet line %q: %w", strings.TrimSpace(line), err)
		}
		if _, twice := r[fields[0]]; twice {
			return nil, fmt.Errorf("ratchet: %q stands twice", fields[0])
		}
		r[fields[0]] = n
	}
	return r, nil
}

// Length checks the lines of functions and files, tests too, generated files
// excepted.
func Length(t *Tree, r Ratchet) []Finding {
	var out []Finding
	seen := map[string]bool{}
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Generated {
				continue
			}
			out = append(out, r.check(seen, Finding{Path: f.Path}, f.Path, f.Lines, fileLinesMax)...)
			for _, d := range f.Syntax.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				lines := t.line(fn.End()) - t.line(fn.Pos()) + 1
				out = append(out, r.check(seen, t.at(fn.Pos(), "", ""), path.Dir(f.Path)+":"+funcName(fn), lines, functionLinesMax)...)
			}
		}
	}
	for key := range r {
		if !seen[key] {
			out = append(out, Finding{Path: "internal/tidy/ratchet.txt", What: key + " is gone", Mend: "take it out of the list"})
		}
	}
	return out
}

// check compares one thing's length with what it may have; at says where it is.
func (r Ratchet) check(seen map[string]bool, at Finding, key string, lines, most int) []Finding {
	seen[key] = true
	was, listed := r[key]
	switch {
	case lines <= most && listed:
		at.What = key + " is short enough now"
		at.Mend = "take it out of internal/tidy/ratchet.txt"
	case lines <= most || lines == was:
		return nil
	case lines < was:
		at.What = fmt.Sprintf("%s has shrunk to %d lines", key, lines)
		at.Mend = "lower its number in internal/tidy/ratchet.txt"
	default:
		at.What = fmt.Sprintf("%s has %d lines, %d are allowed", key, lines, max(was, most))
		at.Mend = "part it along what it does; internal/tidy/ratchet.txt may only shrink"
	}
	return []Finding{at}
}

// funcName is Name, or Type.Name for a method.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	return typeName(fn.Recv.List[0].Type) + "." + fn.Name.Name
}

// typeName of a receiver: without pointer and type parameters.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}
