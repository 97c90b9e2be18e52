package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A place is a top-level declaration in a file of the module.
type place struct {
	file       string // from the module's root
	start, end int    // its text in the file, with its comment
}

// declarations are those of the root package by their names ("drift", "Lock.try", "scriptRelease"), and those of the packages
// under internal and of cmd/redigolock with their folder before ("groupcommit.wire.read"). A name that stands for several things has several places.
func declarations(root string) (map[string][]place, error) {
	files, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil {
		return nil, err
	}
	inner, err := filepath.Glob(filepath.Join(root, "internal", "*", "*.go"))
	if err != nil {
		return nil, err
	}
	command, err := filepath.Glob(filepath.Join(root, "cmd", "redigolock", "*.go"))
	if err != nil {
		return nil, err
	}
	found := map[string][]place{}
	for _, path := range slices.Concat(files, inner, command) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if err := addDeclarations(found, root, path); err != nil {
			return nil, err
		}
	}
	return found, addScripts(found, root)
}

// addScripts adds the Lua scripts, each as a whole: "lua/release", "lua/parts/mine".
func addScripts(found map[string][]place, root string) error {
	return fs.WalkDir(os.DirFS(root), "lua", func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found[strings.TrimSuffix(file, ".lua")] = []place{{file, 0, int(info.Size())}}
		}
		return err
	})
}

func addDeclarations(found map[string][]place, root, path string) error {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	file, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	prefix := ""
	if dir := filepath.Dir(file); dir != "." {
		prefix = filepath.Base(dir) + "."
	}
	add := func(name string, doc *ast.CommentGroup, n ast.Node) {
		start := n.Pos()
		if doc != nil {
			start = doc.Pos()
		}
		found[prefix+name] = append(found[prefix+name],
			place{file, set.Position(start).Offset, set.Position(n.End()).Offset})
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			add(funcName(d), d.Doc, d)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					add(spec.Names[0].Name, spec.Doc, spec)
				case *ast.TypeSpec:
					add(spec.Name.Name, spec.Doc, spec)
				}
			}
		}
	}
	return nil
}

// funcName is the name of a func, with its receiver's type before.
func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	recv := d.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	if generic, ok := recv.(*ast.IndexExpr); ok {
		recv = generic.X
	}
	return recv.(*ast.Ident).Name + "." + d.Name.Name
}

// mutate finds the declaration and makes the replacement in its text, which must be possible at exactly one place. It returns
// the whole file with it.
func (m mutant) mutate(root string, decls map[string][]place) (file, mutated string, err error) {
	places := decls[m.in]
	if len(places) != 1 {
		return "", "", fmt.Errorf("%d declarations have the name %s, not one", len(places), m.in)
	}
	p := places[0]
	src, err := os.ReadFile(filepath.Join(root, p.file))
	if err != nil {
		return "", "", err
	}
	text := string(src[p.start:p.end])
	if n := strings.Count(text, m.old); n != 1 {
		return "", "", fmt.Errorf("%s in %s has the text to be replaced %d times, not once:\n%s", m.in, p.file, n, m.old)
	}
	return p.file, string(src[:p.start]) + strings.Replace(text, m.old, m.new, 1) + string(src[p.end:]), nil
}
