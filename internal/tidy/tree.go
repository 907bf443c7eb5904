package tidy

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Tree is a module's sources. Paths are relative to its root, with slashes.
type Tree struct {
	Module   string
	Packages []*Package // by path
	Texts    []Text     // every text file, Go files too, by path
	Dirs     map[string]bool

	fset *token.FileSet
}

// Package is one folder with Go files in it.
type Package struct {
	Path  string // "internal/base/sys"
	Files []*File
}

// File is one Go file.
type File struct {
	Path      string
	Test      bool // its name ends in _test.go
	Generated bool
	Lines     int
	Syntax    *ast.File
	Package   *Package
}

// Text is a file as it is.
type Text struct {
	Path string
	Data []byte
}

// Finding is a place that breaks a rule, and the way out.
type Finding struct {
	Path string
	Line int // 0 if it is the whole file's
	What string
	Mend string
}

func (f Finding) String() string {
	where := f.Path
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	return where + ": " + f.What + "\n\tmend: " + f.Mend
}

// skipped folders hold nothing that is ours to keep tidy.
func skipped(name string) bool {
	return name == ".git" || name == "node_modules" || name == "breakwater-demo" || name == "vendor"
}

// textBytesMax bounds what is looked at as text; a larger file is data.
const textBytesMax = 4 << 20

// Load reads a tree. A Go file that cannot be parsed is an error.
func Load(fsys fs.FS, module string) (*Tree, error) {
	t := &Tree{Module: module, Dirs: map[string]bool{}, fset: token.NewFileSet()}
	byDir := map[string]*Package{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped(d.Name()):
			return fs.SkipDir
		case d.IsDir():
			t.Dirs[name] = true
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > textBytesMax {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if utf8.Valid(data) && bytes.IndexByte(data, 0) < 0 {
			t.Texts = append(t.Texts, Text{Path: name, Data: data})
		}
		if path.Ext(name) != ".go" || inTestdata(name) {
			return nil
		}
		return t.add(byDir, name, data)
	})
	if err != nil {
		return nil, fmt.Errorf("load the tree: %w", err)
	}
	for _, p := range byDir {
		t.Packages = append(t.Packages, p)
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return cmp.Compare(a.Path, b.Path) })
	return t, nil
}

func (t *Tree) add(byDir map[string]*Package, name string, data []byte) error {
	syntax, err := parser.ParseFile(t.fset, name, data, parser.ParseComments)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	p := byDir[dir]
	if p == nil {
		p = &Package{Path: dir}
		byDir[dir] = p
	}
	p.Files = append(p.Files, &File{
		Path:      name,
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(syntax),
		Lines:     bytes.Count(data, []byte{'\n'}),
		Syntax:    syntax,
		Package:   p,
	})
	return nil
}

func inTestdata(name string) bool {
	return strings.HasPrefix(name, "testdata/") || strings.Contains(name, "/testdata/")
}

// line of a position.
func (t *Tree) line(p token.Pos) int { return t.fset.Position(p).Line }

// at makes a finding at a position.
func (t *Tree) at(p token.Pos, what, mend string) Finding {
	pos := t.fset.Position(p)
	return Finding{Path: pos.Filename, Line: pos.Line, What: what, Mend: mend}
}

// product tells whether a package is of the program, and not of the tools that
// measure and test it from outside.
func (p *Package) product() bool {
	return strings.HasPrefix(p.Path, "internal/") || strings.HasPrefix(p.Path, "cmd/")
}

// short is a package's path without what all of them share.
func (p *Package) short() string { return strings.TrimPrefix(p.Path, "internal/") }

// imports of a file: the name that it is used by there, and its path.
func (f *File) imports() map[string]string {
	out := map[string]string{}
	for _, spec := range f.Syntax.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := importName(full)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		out[name] = full
	}
	return out
}

// importName guesses the name of a package from its path.
func importName(full string) string {
	base := path.Base(full)
	if len(base) > 1 && base[0] == 'v' && base[1] >= '0' && base[1] <= '9' {
		base = path.Base(path.Dir(full))
	}
	return strings.TrimPrefix(base, "go-")
}

// selection is a use of another package's name: os.Open.
type selection struct {
	Path string // "os"
	Name string // "Open"
	Pos  token.Pos
}

// selections lists what a file uses of other packages.
func (f *File) selections() []selection {
	imports := f.imports()
	var out []selection
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok || id.Obj != nil { // a variable of that name hides the package
			return true
		}
		if full, ok := imports[id.Name]; ok {
			out = append(out, selection{Path: full, Name: sel.Sel.Name, Pos: sel.Pos()})
		}
		return true
	})
	return out
}
