package lockbench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/internal/redistest"
)

// readOut returns the names in their order, and the last result.
func readOut(t *testing.T, path string) (names []string, last *benchfmt.Result) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader := benchfmt.NewReader(f, path)
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.Result:
			last = rec.Clone()
			names = append(names, last.Name.String())
		case *benchfmt.SyntaxError:
			t.Fatal(rec)
		}
	}
	if reader.Err() != nil || last == nil {
		t.Fatal("nothing in it: ", reader.Err())
	}
	return names, last
}

func TestOutHasALineForEachRoundInTheOrderOfTheTable(t *testing.T) {
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil,
		"-url", r.URL(), "-workload", "verbs", "-time", "2ms", "-count", "3", "-out", file)
	if o.code != exitDone {
		t.Fatal(o.stderr)
	}
	names, last := readOut(t, file)
	if len(names)%3 != 0 {
		t.Fatalf("%d lines for 3 rounds", len(names))
	}
	round := names[:len(names)/3]
	if !slices.Equal(names, slices.Repeat(round, 3)) {
		t.Errorf("rounds differ: %q", names)
	}
	for i, verb := range []string{"NewToken", "SetNX", "SetNXVerified"} {
		if !strings.HasPrefix(round[i], "Verb/server=redis/verb="+verb) {
			t.Errorf("line %d is %q, want %s", i, round[i], verb)
		}
	}
	for key, want := range map[string]string{"server": "redis", "redis-version": r.Version(), "goos": runtime.GOOS,
		"goarch": runtime.GOARCH, "go": runtime.Version(),
		"settings": "-count 3 -time 2ms -workload verbs"} {
		if got := last.GetConfig(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	keys := []string{"host", "commit"}
	if runtime.GOOS == "linux" {
		keys = append(keys, "kernel", "load-average")
	}
	for _, key := range keys {
		if last.GetConfig(key) == "" {
			t.Errorf("%s is missing", key)
		}
	}
}

func TestBenchstatReadsOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil,
		"-workload", "verbs,contention,ratios", "-time", "60ms", "-count", "6", "-goroutines", "1", "-waiters", "2",
		"-processes", "1", "-ways", "fair", "-out", file) // a round of polling, or a very short one, may have no hand-off at all
	if o.code != exitDone {
		t.Fatal(o.stderr)
	}
	out, err := exec.Command("go", "tool", "benchstat", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		"server: miniredis",
		"Verb/server=miniredis/verb=Fence", "Contention/server=miniredis/way=fair/waiters=2/processes=1/hold=0s",
		"Ratio/server=miniredis/of=locker/to=floor/goroutines=1", "sec/op", "p99-sec", "jain", "acq/s", "wait-p50-sec", "ratio",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rounds := map[string]int{}
	for line := range strings.Lines(string(written)) {
		if name, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "Benchmark") {
			rounds[name]++
		}
	}
	if len(rounds) == 0 {
		t.Error("no round was written")
	}
	for name, n := range rounds { // with fewer, benchstat has no interval. A figure may miss in a round, as where a loaded machine had no hand-off
		if n != 6 {
			t.Errorf("%s has %d rounds, want 6", name, n)
		}
	}
}
