package redigolock_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layers are the files of the root package, the lowest first. A file uses what is declared in its own layer and in those
// below, and nothing above.
var layers = []struct {
	name  string
	files []string
}{
	{"words", []string{"doc.go", "errors.go", "retry.go"}},
	{"checks", []string{"verb.go"}},
	{"verbs", []string{"luascript.go", "setnx.go", "verify.go", "extend.go", "release.go", "fence.go"}},
	{"pools", []string{"pool.go", "sentinel.go", "mux.go", "cluster.go"}},
	{"locks", []string{
		"locker.go", "core.go", "node.go", "lock.go", "plain.go", "claim.go", "keepalive.go",
		"observer.go", "replicas.go", "fair.go", "quorum.go",
	}},
}

func TestFilesUseTheirOwnLayerAndThoseBelow(t *testing.T) {
	layerOf := map[string]int{}
	for i, l := range layers {
		for _, f := range l.files {
			layerOf[f] = i
		}
	}
	for _, u := range usesBetweenFiles(t, ".") {
		from, known := layerOf[u.from]
		to, knownTo := layerOf[u.to]
		switch {
		case !known || !knownTo:
			t.Fatalf("%s or %s is in no layer", u.from, u.to)
		case from < to:
			t.Errorf("%s (%s) uses %s of %s (%s), which is above", u.from, layers[from].name, u.what, u.to, layers[to].name)
		}
	}
	for f := range layerOf {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}

// A use is that a file names what another declares.
type use struct{ from, to, what string }

// usesBetweenFiles returns the uses between the files of a package. What other packages declare is not looked at, so that
// type errors about it say nothing.
func usesBetweenFiles(t *testing.T, dir string) []use {
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: emptyPackages{}, Error: func(error) {}}
	pkg, _ := conf.Check("root", fset, files, &info)
	file := func(p token.Pos) string { return filepath.Base(fset.Position(p).Filename) }
	found := map[use]bool{}
	for id, object := range info.Uses {
		if object.Pkg() == pkg && object.Pos().IsValid() && file(id.Pos()) != file(object.Pos()) {
			found[use{file(id.Pos()), file(object.Pos()), object.Name()}] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b use) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

type emptyPackages struct{}

func (emptyPackages) Import(p string) (*types.Package, error) {
	pkg := types.NewPackage(p, path.Base(p))
	pkg.MarkComplete()
	return pkg, nil
}

func TestAUseOfAHigherFileIsFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"low.go":  "package p; import \"else/where\"; type T struct { where.U; h *H }; func (t *T) f() int { return t.h.n }",
		"high.go": "package p; type H struct { n int }; func g(t *T) { t.f() }",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []use{{"high.go", "low.go", "T"}, {"high.go", "low.go", "f"}, {"low.go", "high.go", "H"}, {"low.go", "high.go", "n"}}
	if got := usesBetweenFiles(t, dir); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// The picture of the packages in CONTRIBUTING.md is what they import of each other.
func TestPictureOfThePackagesIsTrue(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Packages\n")
	section, _, _ = strings.Cut(section, "\n## ")
	picture := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*?) \\| .+ \\|$").FindAllStringSubmatch(section, -1) {
		picture[m[1]] = m[2]
	}
	const module = "github.com/redigolock/redigolock"
	var stderr bytes.Buffer
	list := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	short := func(p string) string {
		if p == module {
			return "redigolock"
		}
		return strings.TrimPrefix(strings.TrimPrefix(p, module+"/"), "internal/")
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		var imports []string
		for _, p := range words[1:] {
			if p == module || strings.HasPrefix(p, module+"/") {
				imports = append(imports, short(p))
			}
		}
		slices.Sort(imports)
		name, want := short(words[0]), strings.Join(imports, ", ")
		if want == "" {
			want = "–"
		}
		seen[name] = true
		if picture[name] != want {
			t.Errorf("%s imports %s; CONTRIBUTING.md says %q", name, want, picture[name])
		}
	}
	for name := range picture {
		if !seen[name] {
			t.Errorf("CONTRIBUTING.md has %s, which is no package", name)
		}
	}
}

// poolMethods are the methods by which pools, and connections that bind, differ.
var poolMethods = []string{"Get", "GetContext", "DialContext", "Bind", "IdleCount", "ActiveCount"}

// TestOnlySourceLooksAtPools: what a pool can do is found out in internal/pools, and in mux.go and pool.go, which have pools. No other file asserts
// or switches on the type of a pool or on its methods, reads a field Pool, borrows, or binds.
func TestOnlySourceLooksAtPools(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset, files := token.NewFileSet(), map[string]*ast.File{}
	types := map[string]bool{"Pool": true, "OpenPool": true, "sentinelPool": true, "Mux": true}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && hasPoolMethod(spec.Type) {
				types[spec.Name.Name] = true
			}
			return true
		})
	}
	if !types["Pool"] {
		t.Fatalf("the types of pools were not found: %v", types)
	}
	for name, file := range files {
		if name == "mux.go" || name == "pool.go" {
			continue
		}
		for _, n := range looksAtPools(file, types) {
			t.Errorf("%v looks at a pool, which is for internal/pools and pool.go to do", fset.Position(n.Pos()))
		}
	}
}

// looksAtPools returns where a file looks at what a pool or a connection is.
func looksAtPools(file *ast.File, types map[string]bool) (found []ast.Node) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeAssertExpr:
			if n.Type != nil && isPool(n.Type, types) {
				found = append(found, n)
			}
		case *ast.CaseClause: // of a type switch; of any other it holds no type
			for _, x := range n.List {
				if isPool(x, types) {
					found = append(found, x)
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "newSource" {
				return false // it has others look
			}
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(poolMethods, s.Sel.Name) && !isRedis(s.X) &&
				(s.Sel.Name != "Get" || len(n.Args) == 0) {
				found = append(found, n)
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "Pool" && !isRedis(n.X) {
				found = append(found, n)
			}
		}
		return true
	})
	return found
}

// isPool reports whether a type expression is a pool's, or an interface with a method of a pool's, or of a connection's that
// binds.
func isPool(x ast.Expr, types map[string]bool) bool {
	switch x := x.(type) {
	case *ast.StarExpr:
		return isPool(x.X, types)
	case *ast.Ident:
		return types[x.Name]
	case *ast.SelectorExpr:
		return isRedis(x.X) && x.Sel.Name == "Pool"
	}
	return hasPoolMethod(x)
}

func hasPoolMethod(x ast.Expr) bool {
	it, ok := x.(*ast.InterfaceType)
	if !ok {
		return false
	}
	for _, m := range it.Methods.List {
		for _, name := range m.Names {
			if slices.Contains(poolMethods, name.Name) {
				return true
			}
		}
	}
	return false
}

// isRedis reports whether x is the package redis.
func isRedis(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "redis"
}

// The check must see each way to look at a pool.
func TestOnlySourceLooksAtPoolsSeesEachWay(t *testing.T) {
	types := map[string]bool{"Pool": true, "Mux": true, "bindingConn": true}
	for code, looks := range map[string]bool{
		`_ = p.(*redis.Pool)`:                               true,
		`_, ok := p.(*Mux)`:                                 true,
		`_, ok := p.(bindingConn)`:                          true,
		`_, ok := p.(interface{ IdleCount() int })`:         true,
		`_, ok := p.(interface{ Bind(...string) error })`:   true,
		`switch p.(type) { case nil, *redis.Pool: }`:        true,
		`switch p := p.(type) { case Pool: _ = p }`:         true,
		`_ = c.Bind(key)`:                                   true,
		`c := l.Pool`:                                       true,
		`c := pool.Get()`:                                   true,
		`c, err := pool.DialContext(ctx)`:                   true,
		`v := query.Get("db")`:                              false,
		`c, err := redis.DialContext(ctx, "tcp", "x")`:      false,
		`_, ok := c.(redis.ConnWithContext)`:                false,
		`p := &redis.Pool{}`:                                false,
		`switch n { case 1, two: }`:                         false,
		`_, ok := err.(interface{ Unwrap() []error })`:      false,
		`switch e := err.(type) { case redis.Error: _ = e}`: false,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { "+code+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(looksAtPools(file, types)) > 0; got != looks {
			t.Errorf("%s: %v, want %v", code, got, looks)
		}
	}
}
