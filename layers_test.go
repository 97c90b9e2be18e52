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
