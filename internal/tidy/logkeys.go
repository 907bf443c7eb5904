package tidy

import "go/ast"

// LogKeys checks that each key of a log line is a constant of base/telemetry
// and each message a plain string, so that logs can be searched. A call is
// taken for a logger's by the method's name and the message's place.
func LogKeys(t *Tree) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Test || !p.product() {
				continue
			}
			if p.short() == "base/telemetry" {
				continue
			}
			imports := f.imports()
			ast.Inspect(f.Syntax, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					out = append(out, t.logCall(call, imports)...)
				}
				return true
			})
		}
	}
	return out
}

func (t *Tree) logCall(call *ast.CallExpr, imports map[string]string) []Finding {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	name := sel.Sel.Name
	if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil && imports[id.Name] != "" {
		switch {
		case imports[id.Name] != "log/slog":
			return nil // some package's function
		case oneOf(name, "String", "Int", "Int64", "Uint64", "Float64", "Bool", "Time", "Duration", "Any", "Group") && len(call.Args) > 0:
			return t.logKey(call.Args[0], imports)
		case oneOf(name, "Info", "Warn", "Error", "Debug"):
			return []Finding{t.at(call.Pos(), "a call of the global logger", "use the *slog.Logger of the Options")}
		}
		return nil
	}
	skip, isLog := loggerMethod(name)
	if !isLog || len(call.Args) <= skip {
		return nil
	}
	var out []Finding
	args := call.Args[skip:]
	if name != "With" {
		if len(call.Args) < skip+1 || len(args) < 1 {
			return nil
		}
		if !isText(args[0]) {
			// Not a message: some other type's Error or Info method.
			if len(args) == 1 || skip > 0 {
				return nil
			}
			return []Finding{t.at(call.Pos(), "the message of a log line is not a constant string",
				"say what happened in a constant, and put what varies into attributes")}
		}
		args = args[1:]
	}
	for i := 0; i < len(args); i++ {
		if _, attr := args[i].(*ast.CallExpr); attr || call.Ellipsis.IsValid() && i == len(args)-1 {
			continue
		}
		out = append(out, t.logKey(args[i], imports)...)
		i++ // its value
	}
	return out
}

// loggerMethod tells how many arguments stand before the message.
func loggerMethod(name string) (skip int, ok bool) {
	switch name {
	case "Debug", "Info", "Warn", "Error", "With":
		return 0, true
	case "DebugContext", "InfoContext", "WarnContext", "ErrorContext":
		return 1, true
	case "Log", "LogAttrs":
		return 2, true
	}
	return 0, false
}

func (t *Tree) logKey(key ast.Expr, imports map[string]string) []Finding {
	if sel, ok := key.(*ast.SelectorExpr); ok {
		if id, ok := sel.X.(*ast.Ident); ok && imports[id.Name] == t.Module+"/internal/base/telemetry" {
			return nil
		}
	}
	return []Finding{t.at(key.Pos(), "a log key that is no constant of base/telemetry",
		"use the constant; a new key is a new constant there")}
}

func isText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.BinaryExpr:
		return isText(e.X) && isText(e.Y)
	}
	return false
}
