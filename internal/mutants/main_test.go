package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Every mutant must still fit the code, or it proves nothing; and every test that it names must exist.
func TestMutantsFitTheCode(t *testing.T) {
	root := filepath.Join("..", "..")
	tests := map[string]map[string]bool{} // by the package's folder
	decls, err := declarations(root)
	if err != nil {
		t.Fatal(err)
	}
	explored, err := os.ReadFile(filepath.Join(root, "internal", "fairmodel", "mutants_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range mutants {
		for _, name := range m.explorations() {
			if !strings.Contains(string(explored), "\t{\""+name+"\", ") {
				t.Errorf("%s: no exploration has the name %q", m.name, name)
			}
		}
		if seen[m.name] {
			t.Errorf("two mutants have the name %q", m.name)
		}
		seen[m.name] = true
		file, mutated, err := m.mutate(root, decls)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if strings.HasSuffix(file, ".lua") {
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), file, mutated, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		pkg, names := m.where(root)
		if _, ok := tests[pkg]; !ok {
			tests[pkg] = testNames(t, pkg)
		}
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(names, -1) {
			if !tests[pkg][name] {
				t.Errorf("%s: no test has the name %s", m.name, name)
			}
		}
	}
}

// Each exploration that is to break with a rule of the queue is one that some mutant names.
func TestEveryExplorationHasItsMutant(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("..", "fairmodel", "mutants_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(src), "var smallest = ")
	table, _, ok := strings.Cut(table, "// Rules of what a Locker does")
	named := map[string]bool{}
	for _, m := range mutants {
		for _, name := range m.explorations() {
			named[name] = true
		}
	}
	rules := regexp.MustCompile(`(?m)^\t\{"([^"]+)", `).FindAllStringSubmatch(table, -1)
	if !ok || len(rules) == 0 {
		t.Fatal("no explorations were found")
	}
	for _, m := range rules {
		if !named[m[1]] {
			t.Errorf("no mutant names the exploration %q", m[1])
		}
	}
}

// A mutant is found by its declaration, in whatever file that is.
func TestADeclarationIsFoundWhereverItStands(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a.go":                "package a; func f() { _ = 1 }; func (t *T) f() { _ = 1 }; var v, w = 1, 2; type T struct{}",
		"internal/b/other.go": "package b\n\n// g is 1.\nfunc g() int { return 1 }\n\nfunc h() int { return 1 }\n",
		"a_test.go":           "package a; func f() {}",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	decls, err := declarations(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ in, old, file string }{ // no file: it must be refused
		{"f", "1", "a.go"}, {"T.f", "1", "a.go"}, {"v", "2", "a.go"}, {"b.g", "return 1", "internal/b/other.go"},
		{"b.g", "1", ""}, {"g", "1", ""}, {"f", "2", ""}, {"b.h", "g", ""},
	} {
		file, mutated, err := mutant{in: tt.in, old: tt.old, new: "0"}.mutate(root, decls)
		if file != tt.file || (err == nil) != (tt.file != "") {
			t.Errorf("%s in %s: %q, %v", tt.old, tt.in, file, err)
		}
		if err == nil && !strings.Contains(mutated, "0") {
			t.Errorf("%s in %s became %s", tt.old, tt.in, mutated)
		}
	}
}

func testNames(t *testing.T, root string) map[string]bool {
	files, err := filepath.Glob(filepath.Join(root, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(src), -1) {
			names[m[1]] = true
		}
	}
	return names
}

// What worlds print tells a promise that was seen broken, and the seed.
func TestBrokenPromiseOfWorlds(t *testing.T) {
	output := "    seeds_test.go:77: two holders at 1.5s: x\nrun seed 7, mode fair, again"
	if promise, seed := broken(output); promise != "two holders" || seed != "7" {
		t.Errorf("%q at seed %q", promise, seed)
	}
	if promise, seed := broken("PASS\n"); promise != "" || seed != "" {
		t.Errorf("%q at seed %q", promise, seed)
	}
	for want, times := range map[string][]time.Duration{
		"none caught, 2 not": nil,
		"3 caught, 2 not; processor time to detection: median 2.0 s, at most 9.0 s": {9 * time.Second, time.Second, 2 * time.Second},
	} {
		if got := summary(times, 2); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
