package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A checker type-checks packages of the module with one file replaced.
type checker struct {
	set      *token.FileSet
	packages map[string][]string // file names by folder
	parsed   map[string]*ast.File
	imports  types.Importer
}

func newChecker(ctx context.Context, root string) (*checker, error) {
	list := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export", "./...")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	c := &checker{set: token.NewFileSet(), packages: map[string][]string{}, parsed: map[string]*ast.File{}}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		c.packages[p.Dir] = p.GoFiles
	}
	c.imports = importer.ForCompiler(c.set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return c, nil
}

// check type-checks the package of the file, with this text in place of the file's.
func (c *checker) check(path, text string) error {
	mutated, err := parser.ParseFile(c.set, path, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	files := []*ast.File{mutated}
	for _, name := range c.packages[filepath.Dir(path)] {
		other := filepath.Join(filepath.Dir(path), name)
		if other == path {
			continue
		}
		if c.parsed[other] == nil {
			if c.parsed[other], err = parser.ParseFile(c.set, other, nil, parser.SkipObjectResolution); err != nil {
				return err
			}
		}
		files = append(files, c.parsed[other])
	}
	conf := types.Config{Importer: c.imports}
	_, err = conf.Check(filepath.Dir(path), c.set, files, nil)
	return err
}

// checkAll type-checks all mutants, and reports how many do not compile. Those of the Lua scripts are not looked at.
func checkAll(ctx context.Context, out io.Writer) (broken int, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	decls, err := declarations(root)
	if err != nil {
		return 0, err
	}
	c, err := newChecker(ctx, root)
	if err != nil {
		return 0, err
	}
	for _, m := range mutants {
		file, mutated, err := m.mutate(root, decls)
		if err == nil && !strings.HasSuffix(file, ".lua") {
			err = c.check(filepath.Join(root, file), mutated)
		}
		if err != nil {
			broken++
			fmt.Fprintf(out, "BROKEN    %-42s %v\n", m.name, err)
		}
	}
	return broken, nil
}
