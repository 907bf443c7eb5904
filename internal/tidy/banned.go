package tidy

import (
	"go/ast"
	"strings"
)

// Calls checks for calls that nobody may make: prints outside the commands,
// the standard logger, the builtin prints, os.Exit outside main packages,
// wall-clock sleep in tests outside a synctest bubble, and init functions.
func Calls(t *Tree) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Test {
				out = append(out, t.sleeps(f)...)
				continue
			}
			main := f.Syntax.Name.Name == "main"
			for _, s := range f.selections() {
				switch {
				case s.Path == "fmt" && hasPrefix(s.Name, "Print") && !main:
					out = append(out, t.at(s.Pos, "fmt."+s.Name+" outside a command", "log it, or write to an io.Writer that is handed in"))
				case s.Path == "log":
					out = append(out, t.at(s.Pos, "the standard library's old logger", "use the *slog.Logger of the Options"))
				case s.Path == "os" && s.Name == "Exit" && !main:
					out = append(out, t.at(s.Pos, "os.Exit outside a command", "return an error"))
				case s.Path == "context" && s.Name == "TODO":
					out = append(out, t.at(s.Pos, "context.TODO", "take a context from the caller"))
				}
			}
			for _, fn := range funcs(f) {
				if fn.Name.Name == "init" && fn.Recv == nil {
					out = append(out, t.at(fn.Pos(), "an init function", "do it in New, or where it is needed"))
				}
			}
			ast.Inspect(f.Syntax, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if id, ok := call.Fun.(*ast.Ident); ok && oneOf(id.Name, "print", "println") && id.Obj == nil {
						out = append(out, t.at(call.Pos(), "the builtin "+id.Name, "take it out"))
					}
				}
				return true
			})
		}
	}
	return out
}

// sleeps finds time.Sleep in a test file outside the functions that are given
// to synctest.Test.
func (t *Tree) sleeps(f *File) []Finding {
	imports := f.imports()
	var out []Finding
	var bubbles []ast.Node
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch callee(call, imports) {
		case "testing/synctest.Test":
			bubbles = append(bubbles, call)
		case "time.Sleep":
			for _, b := range bubbles {
				if b.Pos() <= call.Pos() && call.End() <= b.End() {
					return true
				}
			}
			out = append(out, t.at(call.Pos(), "time.Sleep in a test outside a synctest bubble",
				"wait for what is to happen (a channel, a file, an answer), or run the test in synctest.Test"))
		}
		return true
	})
	return out
}

// callee is "path.Name" of a call of another package's function.
func callee(call *ast.CallExpr, imports map[string]string) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok || id.Obj != nil || imports[id.Name] == "" {
		return ""
	}
	return imports[id.Name] + "." + sel.Sel.Name
}

// Variables checks that no package has state: a variable of a package is set
// where it is declared and nowhere else, holds no lock, map to be filled or
// counter, and is exported only as a sentinel error. allowed are exceptions,
// "package:name", with their reasons.
func Variables(t *Tree, allowed map[string]string) []Finding {
	var out []Finding
	used := map[string]bool{}
	for _, p := range t.Packages {
		if !p.product() {
			continue
		}
		for name, v := range p.variables() {
			key := p.short() + ":" + name
			what := p.mutable(name, v)
			if what == "" {
				continue
			}
			if allowed[key] != "" {
				used[key] = true
				continue
			}
			out = append(out, t.at(v.Pos(), "package variable "+name+" "+what,
				"make it a field of what New returns; a table is a const, a function or is never written to"))
		}
	}
	for key := range allowed {
		if !used[key] {
			out = append(out, Finding{Path: "internal/tidy", What: "no need to allow " + key, Mend: "take it out of the list"})
		}
	}
	return out
}

// variables of a package's files that are no tests, by name.
func (p *Package) variables() map[string]*ast.ValueSpec {
	out := map[string]*ast.ValueSpec{}
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		for _, d := range f.Syntax.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok.String() != "var" {
				continue
			}
			for _, s := range gen.Specs {
				v := s.(*ast.ValueSpec)
				for _, n := range v.Names {
					if n.Name != "_" && !embedded(gen, v) {
						out[n.Name] = v
					}
				}
			}
		}
	}
	return out
}

func embedded(gen *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{gen.Doc, v.Doc} {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

// mutable says why a variable is state, or "".
func (p *Package) mutable(name string, v *ast.ValueSpec) string {
	sentinel := hasPrefix(name, "Err", "err")
	switch {
	case ast.IsExported(name) && !sentinel:
		return "is exported: anybody may set it"
	case len(v.Values) == 0:
		return "is not set where it is declared"
	}
	for _, e := range append([]ast.Expr{v.Type}, v.Values...) {
		if e != nil && holdsState(e) {
			return "holds a lock, a pool or a counter"
		}
	}
	for _, f := range p.Files {
		if !f.Test && writes(f.Syntax, name, v) {
			return "is written to"
		}
	}
	return ""
}

// holdsState finds sync and atomic types, and metrics.
func holdsState(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && oneOf(id.Name, "sync", "atomic", "prometheus", "promauto", "expvar") {
				found = true
			}
		}
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		return !found
	})
	return found
}

// writes tells whether a file assigns to the variable, to a part of it, or
// takes its address.
func writes(file *ast.File, name string, v *ast.ValueSpec) bool {
	is := func(e ast.Expr) bool {
		for {
			switch x := e.(type) {
			case *ast.Ident:
				return x.Name == name && (x.Obj == nil || x.Obj.Decl == v)
			case *ast.SelectorExpr:
				e = x.X
			case *ast.IndexExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			default:
				return false
			}
		}
	}
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, l := range n.Lhs {
				found = found || n.Tok.String() != ":=" && is(l)
			}
		case *ast.IncDecStmt:
			found = found || is(n.X)
		case *ast.UnaryExpr:
			found = found || n.Op.String() == "&" && is(n.X)
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && oneOf(id.Name, "delete", "clear") && len(n.Args) > 0 {
				found = found || is(n.Args[0])
			}
		}
		return !found
	})
	return found
}
