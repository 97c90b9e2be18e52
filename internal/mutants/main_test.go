package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Every mutant must still fit the code, or it proves nothing; and every test that it names must exist.
func TestMutantsFitTheCode(t *testing.T) {
	root := filepath.Join("..", "..")
	tests := testNames(t, root)
	seen := map[string]bool{}
	for _, m := range mutants {
		if seen[m.name] {
			t.Errorf("two mutants have the name %q", m.name)
		}
		seen[m.name] = true
		src, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Fatal(err)
		}
		mutated, err := m.apply(string(src))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, mutated, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(m.tests, -1) {
			if !tests[name] {
				t.Errorf("%s: no test has the name %s", m.name, name)
			}
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
