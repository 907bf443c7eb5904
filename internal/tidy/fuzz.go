package tidy

import "go/ast"

// FuzzTargets checks that each exported function that makes something of
// bytes (Parse*, Decode*, Read* of bytes, a string or a reader) has a fuzz
// target of its name in its package, and that the target calls it.
func FuzzTargets(t *Tree, support []string) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		if oneOf(p.short(), support...) {
			continue
		}
		targets := map[string]*ast.FuncDecl{}
		for _, f := range p.Files {
			for _, fn := range funcs(f) {
				if f.Test && fn.Recv == nil {
					targets[fn.Name.Name] = fn
				}
			}
		}
		for _, f := range p.Files {
			for _, fn := range funcs(f) {
				name := fn.Name.Name
				if f.Test || fn.Recv != nil || !hasPrefix(name, "Parse", "Decode", "Read") || !takesBytes(fn) {
					continue
				}
				target := targets["Fuzz"+name]
				if target == nil {
					out = append(out, t.at(fn.Pos(), name+" has no fuzz target",
						"write Fuzz"+name+": no panic, bounded memory, and parse of format is the identity"))
				} else if !reaches(target, name, targets) {
					out = append(out, t.at(target.Pos(), "Fuzz"+name+" does not call "+name, "call it"))
				}
			}
		}
	}
	return out
}

func funcs(f *File) []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range f.Syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			out = append(out, fn)
		}
	}
	return out
}

// takesBytes tells whether a parameter is bytes, a string or a reader.
func takesBytes(fn *ast.FuncDecl) bool {
	for _, field := range fn.Type.Params.List {
		switch e := field.Type.(type) {
		case *ast.Ident:
			if e.Name == "string" {
				return true
			}
		case *ast.ArrayType:
			if id, ok := e.Elt.(*ast.Ident); ok && id.Name == "byte" {
				return true
			}
		case *ast.SelectorExpr:
			if oneOf(e.Sel.Name, "Reader", "ReaderAt", "ByteReader", "RuneReader") {
				return true
			}
		case *ast.StarExpr:
			if s, ok := e.X.(*ast.SelectorExpr); ok && s.Sel.Name == "Reader" {
				return true
			}
		}
	}
	return false
}

// reaches tells whether a function mentions a name, itself or by way of the
// other functions of the tests.
func reaches(fn *ast.FuncDecl, name string, tests map[string]*ast.FuncDecl) bool {
	seen := map[string]bool{}
	var visit func(fn *ast.FuncDecl) bool
	visit = func(fn *ast.FuncDecl) bool {
		if seen[fn.Name.Name] {
			return false
		}
		seen[fn.Name.Name] = true
		if mentions(fn.Body, name) {
			return true
		}
		for other, helper := range tests {
			if mentions(fn.Body, other) && visit(helper) {
				return true
			}
		}
		return false
	}
	return visit(fn)
}

func mentions(n ast.Node, name string) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Name == name {
			found = true
		}
		return !found
	})
	return found
}
