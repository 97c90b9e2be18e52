package lockbench

import (
	"context"
	"fmt"
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
		"settings": "-workload verbs -time 2ms -count 3"} {
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
	for _, text := range []string{"Locks of 2s kept alive, 1 round of 2s", "CPU/renewal", "server CPU", "bytes/lock",
		"late p50"} {
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

// On a unix socket, as an open loop and the Mux are also measured.
func TestMuxAndLoadAreShownAndWrittenAndLeaveNoKey(t *testing.T) {
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil, "-url", "unix://"+r.Socket(), "-workload", "mux,load", "-goroutines", "2,8",
		"-pools", "1,4", "-rates", "200,400", "-served", "8", "-time", "150ms", "-count", "1", "-out", file)
	if o.code != exitDone || o.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{"Redigo by hand over bounded pools", "locker-mux2-at-2", "Closed loop of 8 goroutines",
		"Open loop", "goodput/s", "p99.9", "server CPU"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	names, last := readOut(t, file)
	for _, want := range []string{
		"AcquireRelease/server=redis-unix/approach=floor-pool4/release=lua/goroutines=8",
		"Ratio/server=redis-unix/of=locker-mux1/to=floor/goroutines=8",
		"Ratio/server=redis-unix/of=floor-copy/to=floor/goroutines=2",
		"AcquireRelease/server=redis-unix/approach=locker-mux4/release=lua/goroutines=8",
		"Load/server=redis-unix/keys=own/approach=locker/rate=200",
	} {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, want) }) {
			t.Errorf("%s is not in %q", want, names)
		}
	}
	for _, unit := range []string{"p99.9-sec", "goodput/s", "unserved", "generator-p99-sec", "server-cpu-sec/op"} {
		if _, ok := last.Value(unit); !ok {
			t.Errorf("no %s in %v", unit, last.Values)
		}
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

func TestLoadOfSharedKeysIsByWaysAndLeavesNoKey(t *testing.T) {
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), nil, "-url", r.URL(), "-workload", "load", "-keys", "own,hot,zipf10000",
		"-rates", "500", "-ways", "floor,fair,cohort-mux1,toy", "-approaches", "locker", "-hold", "0s,1ms",
		"-time", "100ms", "-count", "1", "-out", file)
	if o.code != exitDone || o.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{"of distinct keys that arrive at a rate, at most 256 served", "of one key that",
		"of 10,000 keys by Zipf's law that", "1ms"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	var got []string
	names, _ := readOut(t, file)
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "Load/server=redis/"); ok {
			got = append(got, strings.TrimSuffix(rest, fmt.Sprintf("-%d", runtime.GOMAXPROCS(0))))
		}
	}
	want := []string{"keys=own/approach=locker/rate=500"}
	for _, keys := range []string{"hot", "zipf10000"} {
		for _, hold := range []string{"", "/hold=1ms"} {
			for _, way := range []string{"fair", "cohort-mux1", "toy"} {
				want = append(want, "keys="+keys+"/approach="+way+"/rate=500"+hold)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
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
	if !strings.Contains(o.stdout, "A process that holds a lock of 2s is killed") {
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

func TestMuxAndLoadOnMiniredisSayNothingOfCPU(t *testing.T) {
	o := lockbench(context.Background(), nil, "-workload", "mux,load", "-goroutines", "2", "-pools", "2", "-rates", "100",
		"-served", "4", "-time", "50ms", "-count", "1")
	if o.code != exitDone || o.stderr != "" || !strings.Contains(o.stdout, "Open loop") {
		t.Fatalf("exit code %d, stderr %q\n%s", o.code, o.stderr, o.stdout)
	}
	if strings.Contains(o.stdout, "CPU/op") || strings.Contains(o.stdout, "  CPU") {
		t.Errorf("it shows processor time, which is the embedded server's too\n%s", o.stdout)
	}
}

func TestCtrlCInKeepAliveLeavesNoKey(t *testing.T) {
	r := redistest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan outcome)
	go func() { ended <- lockbench(ctx, nil, "-url", r.URL(), "-workload", "keepalive", "-locks", "50") }()
	eventually(t, "there are keys", func() bool { return len(keysOf(t, r)) == 50 })
	cancel()
	o := <-ended
	o.wantLine(t, exitStopped, "stopped")
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}
