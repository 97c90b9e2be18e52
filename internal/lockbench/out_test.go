package lockbench

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/internal/figures"
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
		"-workload", "all", "-time", "5ms", "-count", "6", "-goroutines", "1", "-waiters", "2",
		"-processes", "1", "-ways", "fair", "-out", file) // a round of polling may have no hand-off at all
	if o.code != exitDone {
		t.Fatal(o.stderr)
	}
	out, err := exec.Command("go", "tool", "benchstat", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		"server: miniredis", "AcquireRelease/server=miniredis/approach=setnx/release=lua/goroutines=1",
		"Verb/server=miniredis/verb=Fence", "Contention/server=miniredis/way=fair/waiters=2/processes=1/hold=0s",
		"Ratio/server=miniredis/of=locker/to=floor/goroutines=1", "sec/op", "p99-sec", "jain", "acq/s", "cmds/acq", "ratio",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "samples for confidence") {
		t.Errorf("benchstat misses rounds:\n%s", text)
	}
}

func TestKeepAliveIsShownAndWrittenAndLeavesNoKey(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil,
		"-url", r.URL(), "-workload", "keepalive", "-locks", "1,20", "-ttl", "2s", "-out", file)
	if o.code != exitDone || o.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{"Keeping locks alive", "1 round of 2s", "server’s CPU", "memory", "late p50"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	names, last := readOut(t, file)
	for i, want := range []string{"way=locker/locks=1/ttl=2s", "way=loop/locks=1/ttl=2s", "way=locker/locks=20/ttl=2s",
		"way=loop/locks=20/ttl=2s"} {
		if i >= len(names) || !strings.HasPrefix(names[i], "KeepAlive/server=redis/"+want) {
			t.Errorf("line %d is not %s: %q", i, want, names)
		}
	}
	for _, unit := range []string{"renewals/s", "B/lock", "goroutines", "server-cores", "lost"} {
		if _, ok := last.Value(unit); !ok {
			t.Errorf("no %s in %v", unit, last.Values)
		}
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

func TestLoadIsMeasuredAtSharesOfAClosedLoopAndAtRates(t *testing.T) {
	r := redistest.Start(t)
	file, hist := filepath.Join(t.TempDir(), "out.txt"), filepath.Join(t.TempDir(), "out.hlog")
	for i, rates := range []string{"-loads=10,20", "-rates=300,600"} {
		o := lockbench(context.Background(), nil, "-url", "unix://"+r.Socket(), "-workload", "load", "-approaches", "floor,toy",
			rates, "-served", "4", "-time", "100ms", "-count", "2", "-out", file, "-hist", hist)
		if o.code != exitDone || o.stderr != "" {
			t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
		}
		names, last := readOut(t, file)
		for _, name := range names {
			if !strings.HasPrefix(name, "Load/server=redis-unix/keys=own/approach=") {
				t.Errorf("%s is no Load", name)
			}
		}
		if n := len(names); n != 8 || i == 1 && !strings.Contains(names[0], "/rate=300") {
			t.Errorf("%d lines: %q", n, names)
		}
		for _, unit := range []string{"p99.9-sec", "goodput/s", "unserved", "generator-p99-sec", "server-cpu-sec/op"} {
			if _, ok := last.Value(unit); !ok {
				t.Errorf("no %s in %v", unit, last.Values)
			}
		}
		checkHist(t, hist, "Load/server=redis-unix/keys=own/approach=toy/rate=", 4, int64(last.Iters))
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

// checkHist wants so many histograms, one of which has the tag, and more values than one round has ops.
func checkHist(t *testing.T, path, tag string, count int, ops int64) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n, found := 0, false
	for r := hdrhistogram.NewHistogramLogReader(bytes.NewReader(text)); ; n++ {
		hist, err := r.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if hist == nil {
			break
		}
		found = found || strings.HasPrefix(hist.Tag(), tag) && hist.TotalCount() > ops && hist.EndTimeMs() > hist.StartTimeMs()
	}
	if n != count || !found {
		t.Errorf("%d histograms, want %d; of %s with more than %d values: %v", n, count, tag, ops, found)
	}
}

func TestLoadOfSharedKeysLeavesNoKey(t *testing.T) {
	r := redistest.Start(t)
	o := lockbench(context.Background(), nil, "-url", r.URL(), "-workload", "load", "-keys", "hot,zipf10000",
		"-rates", "500", "-ways", "floor,fair,cohort-mux1,toy", "-hold", "0s,1ms", "-time", "100ms", "-count", "1")
	if o.code != exitDone || o.stderr != "" || !strings.Contains(o.stdout, "zipf10000") {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %d keys, such as %q", len(keys), keys[:1])
	}
}

func TestRecoveryKillsAHolderEachRoundAndLeavesNoKey(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil, "-url", r.URL(), "-workload", "recovery",
		"-ways", "floor,fair,toy", "-ttl", "2s", "-count", "2", "-out", file)
	if o.code != exitDone || o.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	if !strings.Contains(o.stdout, "A holder killed") {
		t.Errorf("got\n%s", o.stdout)
	}
	names, last := readOut(t, file)
	for i, way := range []string{"fair", "toy", "fair", "toy"} {
		if len(names) != 4 || !strings.HasPrefix(names[i], "Recovery/server=redis/way="+way+"/ttl=2s") {
			t.Errorf("line %d is not of %s: %q", i, way, names)
		}
	}
	if gap, ok := last.Value("gap-max-sec"); !ok || gap < 0.1 {
		t.Errorf("a gap of %v s, %v, though half of the lease was left", gap, ok)
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

func TestDelayIsInTheNamesAndInTheTable(t *testing.T) {
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil, quick("-url", r.URL(), "-workload", "approaches,contention", "-approaches", "floor",
		"-ways", "fair", "-processes", "2", "-delay", "0,5ms", "-time", "200ms", "-out", file)...)
	if o.code != exitDone || o.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	set, err := figures.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AcquireRelease", "Contention"} {
		far := set.Find(name, "delay=5ms")
		if len(far) == 0 || !strings.Contains(o.stdout, "  5ms  ") {
			t.Fatalf("no delay in\n%s", o.stdout)
		}
		if f, _ := far[0].Figure("p50-sec"); f.Center < 0.005 {
			t.Errorf("%s takes %v, less than a round trip", far[0].Name, f)
		}
	}
}
