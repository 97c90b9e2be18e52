// Package results holds measured figures; see README.md. This test keeps the repository's README true to them.
package results

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

var update = flag.Bool("update", false, "write the table into README.md instead of comparing it")

// The rows of README's table: what stands in the first column, and the benchmarks that it shows.
var rows = []struct{ label, approach, release string }{
	{"redigo by hand: `SET NX PX`, `EVALSHA`", "floor", "lua"},
	{"`SetNX`, `Release`", "setnx", "lua"},
	{"`SetNXVerified`, `Release`", "setnx-verified", "lua"},
	{"`SetNXScript`, `Release`", "script", "lua"},
	{"`SetNX`, `ReleaseTx`", "setnx", "tx"},
	{"Locker, as it is", "locker", "lua"},
	{"Locker over a Mux", "locker-mux1", "lua"},
}

var goroutines = []string{"1", "16", "128", "1024"}

// figures is where README names the folder that its table comes from, and the table.
var figures = regexp.MustCompile(`(?s)<!-- figures: (results/[\w-]+) -->\n(.*?)<!-- end -->\n`)

func TestEveryFigureOfTheReadmeIsInTheRawData(t *testing.T) {
	readme := filepath.Join("..", "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	m := figures.FindStringSubmatchIndex(string(text))
	if m == nil {
		t.Fatal("README.md has no table of figures")
	}
	folder, got := string(text[m[2]:m[3]]), string(text[m[4]:m[5]])
	want := table(medians(t, filepath.Join("..", folder, "raw", "approaches.txt")))
	if *update {
		updated := string(text[:m[4]]) + want + string(text[m[5]:])
		if err := os.WriteFile(readme, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("README.md says\n%s\nthe raw data of %s say\n%s", got, folder, want)
	}
}

// table is README's table: medians in µs.
func table(medians map[string]float64) string {
	var b strings.Builder
	b.WriteString("| acquire + release of distinct keys, µs each | 1 goroutine | 16 | 128 | 1024 |\n| --- | --: | --: | --: | --: |\n")
	for _, r := range rows {
		b.WriteString("| " + r.label)
		for _, n := range goroutines {
			fmt.Fprintf(&b, " | %.1f", 1e6*medians[r.approach+"/"+r.release+"/"+n])
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// medians are those of sec/op over the rounds, by approach/release/goroutines.
func medians(t *testing.T, file string) map[string]float64 {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	part := func(r *benchfmt.Result, name string) string {
		m := regexp.MustCompile("/" + name + `=([\w-]+?)(-\d+)?(/|$)`).FindStringSubmatch(string(r.Name))
		if m == nil {
			return ""
		}
		return m[1]
	}
	values := map[string][]float64{}
	reader := benchfmt.NewReader(f, file)
	for reader.Scan() {
		r, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("%s: %v", file, reader.Result())
		}
		if v, ok := r.Value("sec/op"); ok {
			cell := part(r, "approach") + "/" + part(r, "release") + "/" + part(r, "goroutines")
			values[cell] = append(values[cell], v)
		}
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for cell, v := range values {
		if len(v) < 10 {
			t.Errorf("%s: %s has %d rounds, at least 10 are wanted", file, cell, len(v))
		}
		slices.Sort(v)
		sample := benchmath.NewSample(v, &benchmath.DefaultThresholds)
		found[cell] = benchmath.AssumeNothing.Summary(sample, 0.95).Center
	}
	return found
}
