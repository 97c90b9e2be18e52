package redigolock_test

import (
	"bytes"
	"crypto/sha1"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock"
)

var updateAPI = flag.Bool("update-api", false, "write testdata/api.txt instead of comparing it")

// testdata/api.txt is what users see of the packages that are for them, as go doc -all shows it, but without comments: a change of
// it is a change of the interface, and is seen in review.
func TestAPI(t *testing.T) {
	var got strings.Builder
	for _, dir := range []string{".", "locktest", "redigolockprom", "redigolockotel"} {
		fmt.Fprintf(&got, "# %s\n\n%s\n\n", dir, strings.Join(exported(t, dir), "\n"))
	}
	if *updateAPI {
		if err := os.WriteFile("testdata/api.txt", []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/api.txt")
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("- %s", line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("+ %s", line)
		}
	}
	if got.String() != string(want) {
		t.Error("what users see has changed. If that is meant: go test -run TestAPI -update-api . && git diff testdata/api.txt")
	}
}

// exported returns the exported declarations of a package, in the order of their names, methods with their types.
func exported(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset, decls := token.NewFileSet(), map[string]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution) // without comments
		if err != nil {
			t.Fatal(err)
		}
		ast.FileExports(file)
		for _, d := range file.Decls {
			for name, d := range declared(d) {
				var text strings.Builder
				if err := printer.Fprint(&text, fset, d); err != nil {
					t.Fatal(err)
				}
				decls[name] = strings.ReplaceAll(text.String(), "\n\n", "\n") // where a comment was
			}
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(decls)) {
		list = append(list, decls[name])
	}
	return list
}

// declared returns what a declaration declares, without bodies and without what a variable is set to.
func declared(d ast.Decl) map[string]ast.Node {
	all := map[string]ast.Node{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		d.Body = nil
		if d.Recv == nil {
			all[d.Name.Name] = d
		} else if of := receiverOf(d.Recv.List[0].Type); ast.IsExported(of) {
			all[of+"."+d.Name.Name] = d
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			one := &ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{s}}
			switch s := s.(type) {
			case *ast.TypeSpec:
				all[s.Name.Name] = one
			case *ast.ValueSpec:
				if d.Tok == token.VAR {
					s.Values = nil
				}
				all[s.Names[0].Name] = one
			}
		}
	}
	return all
}

func receiverOf(x ast.Expr) string {
	if p, ok := x.(*ast.StarExpr); ok {
		x = p.X
	}
	id, _ := x.(*ast.Ident)
	return id.Name
}

var updateDigests = flag.Bool("update-digests", false, "write the digests of the scripts instead of comparing them")

const digestsFile = "internal/scripts/scripts.go"

func TestDigests(t *testing.T) {
	old, err := os.ReadFile(digestsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := bytes.Cut(old, []byte("var Digests"))
	if !ok {
		t.Fatalf("%s has no var Digests", digestsFile)
	}
	b := bytes.NewBuffer(slices.Clone(head))
	fmt.Fprint(b, "var Digests = map[string]string{\n")
	for _, name := range slices.Sorted(maps.Keys(redigolock.ScriptTexts)) {
		fmt.Fprintf(b, "%q: \"%x\",\n", name, sha1.Sum([]byte(redigolock.ScriptTexts[name])))
	}
	fmt.Fprint(b, "}\n")
	want, err := format.Source(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if *updateDigests {
		if err := os.WriteFile(digestsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(old, want) {
		t.Errorf("%s does not go with the scripts: go test -run TestDigests . -update-digests", digestsFile)
	}
}
