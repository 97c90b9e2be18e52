package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFailuresHaveAnExitCodeAndALine(t *testing.T) {
	none, torn, other := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(torn, "x.txt"), "BenchmarkLoad/server=redis 10 100\n")
	write(t, filepath.Join(other, "x.txt"), "BenchmarkVerb/verb=SetNX-2 10 100 ns/op\n")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no folder", nil, 2, "usage: plot"},
		{"two folders", []string{"a", "b"}, 2, "usage: plot"},
		{"an unknown flag", []string{"-colour", "a"}, 2, "not defined: -colour"},
		{"an empty folder", []string{none}, 1, "has no *.txt"},
		{"a torn line", []string{torn}, 1, "x.txt:1"},
		{"no data for any chart", []string{other}, 1, "has data for no chart"},
	} {
		code, _, stderr := plotted(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d, %q; want %d, %q", c.name, code, stderr, c.code, c.says)
		}
	}
}

func TestChartsAreBesideTheRawFolderByDefault(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.Mkdir(raw, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(raw, "x.txt"),
		"BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=1-2 10 100 ns/op\n")
	if code, _, stderr := plotted(t, raw+"/"); code != 0 {
		t.Fatal(stderr)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(raw), "charts", "throughput-dark.svg")); err != nil {
		t.Error(err)
	}
}
