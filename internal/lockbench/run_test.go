package lockbench

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/internal/redistest"
)

// Each workload is measured on a real server, shown, and written; in the end no key is left.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args  string
		shown []string
		unit  string // of the last line that is written
	}{
		"all":      {"-workload all", []string{" (from REDIS_URL)", "Verbs,", "floor-copy", "allocations", "reads", "hand-off"}, "ratio"},
		"overview": {"-time 60ms", []string{"redigo by hand", "Fair with Cohort", "Without contention, a Locker does", "no more than 1000 locks/s"}, "wait-p99-sec"},
		"keepalive": {"-workload keepalive -locks 1,20 -ttl 2s -time 2s",
			[]string{"Keeping locks alive", "1 round of 2s", "memory of a lock"}, "B/lock"},
		"load": {"-workload load -approaches floor,toy -rates 500,1000 -time 100ms", []string{"Open loop", "served/s", "toy"}, "p99.9-sec"},
		"load of shared keys": {"-workload load -keys hot,zipf10000 -rates 500 -ways floor,fair,cohort-mux1,toy -hold 0s,1ms -time 100ms",
			[]string{"keys zipf10000 · at 500/s · hold 1ms", "late p99"}, "goodput/s"},
		"recovery": {"-workload recovery -ways floor,fair,toy -ttl 2s", []string{"A holder killed", "toy"}, "gap-max-sec"},
		"rivals":   {"-workload approaches,contention,ratios -approaches locker,toy -ways fair,toy -time 100ms", []string{"polls every ms"}, "ratio"},
		"a delay":  {"-workload approaches,contention -approaches floor -ways fair -delay 0,5ms -time 200ms", []string{"5ms round trip"}, "wait-p99-sec"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, file := redistest.Start(t), filepath.Join(t.TempDir(), "out.txt")
			args := append(quick("-url", "env", "-out", file), strings.Fields(tt.args)...)
			o := lockbench(context.Background(), map[string]string{"REDIS_URL": r.URL()}, args...)
			if o.code != exitDone || o.stderr != "" {
				t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
			}
			for _, text := range append(tt.shown, r.Version()+" at "+r.URL()) {
				if !strings.Contains(o.stdout, text) {
					t.Errorf("%q is not in\n%s", text, o.stdout)
				}
			}
			for line := range strings.Lines(o.stdout) {
				if utf8.RuneCountInString(line) > 140 {
					t.Errorf("a line is too wide for a terminal: %s", line)
				}
			}
			if page := runReport("-out", filepath.Join(t.TempDir(), "page.html"), file); page.code != exitDone {
				t.Errorf("its report: %+v", page)
			}
			if _, last := readOut(t, file); !slices.ContainsFunc(last.Values, func(v benchfmt.Value) bool { return v.Unit == tt.unit }) {
				t.Errorf("no %s in %v", tt.unit, last.Values)
			}
			if keys := keysOf(t, r); len(keys) > 0 {
				t.Errorf("left %q", keys)
			}
		})
	}
}

// The overview of a Cluster has the same rows and columns, and what is written says that it is one.
func TestOverviewOfACluster(t *testing.T) {
	t.Parallel()
	c, file := redistest.StartCluster(t, redistest.ClusterConfig{}), filepath.Join(t.TempDir(), "out.txt")
	o := lockbench(context.Background(), map[string]string{"REDIS_URL": c.URL()}, quick("-url", "env", "-out", file)...)
	if o.code != exitDone || o.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{", a cluster of 3 masters at redis-cluster://127", "Locker over a Mux", "Fair with Cohort", "Without contention, a Locker does"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	names, _ := readOut(t, file)
	for _, name := range names {
		if !strings.Contains(name, "/server=redis-cluster/") {
			t.Error(name)
		}
	}
	for _, s := range c.Servers {
		if keys := keysOf(t, s); len(keys) > 0 {
			t.Errorf("left %q", keys)
		}
	}
}

func TestRunOnMiniredisSaysThatTheseAreNoRedisFigures(t *testing.T) {
	run := func() outcome {
		return lockbench(context.Background(), nil, quick("-workload", "approaches,load", "-rates", "100")...)
	}
	o := run()
	for try := 1; o.code == exitUnreachable && try < 5; try++ {
		t.Logf("once more, after: %s", o.stderr) // the machine stood still for an OpTimeout
		o = run()
	}
	if o.code != exitDone || o.stderr != "" {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
	if !strings.Contains(o.stdout, "miniredis, embedded in this process") || !strings.Contains(o.stdout, "no Redis figures") {
		t.Errorf("it does not say so\n%s", o.stdout)
	}
	if strings.Contains(o.stdout, "allocations") || strings.Contains(o.stdout, "CPU:") {
		t.Errorf("it shows what the embedded server uses too\n%s", o.stdout)
	}
}

// It stops, says what it has, and leaves no key.
func TestCtrlCPrintsWhatThereIs(t *testing.T) {
	r := redistest.Start(t)
	for _, workload := range append([]string{"load", "keepalive"}, allWorkloads...) {
		ctx, cancel := context.WithCancel(context.Background())
		file, length := filepath.Join(t.TempDir(), "out.txt"), "20ms"
		if workload == "keepalive" {
			length = "3s" // its ttl: with a shorter one a machine that stands still loses a lock, which ends it
		}
		ended := make(chan outcome, 1)
		go func() {
			ended <- lockbench(ctx, nil, "-url", r.URL(), "-workload", workload, "-goroutines", "4", "-waiters", "2",
				"-ways", "polling,fair", "-rates", "500", "-locks", "50", "-ttl", "3s",
				"-time", length, "-count", "100000", "-out", file)
		}()
		eventually(t, workload+" has written a round", func() bool {
			select {
			case o := <-ended:
				t.Fatalf("%s ended by itself: %+v", workload, o)
			default:
			}
			text, _ := os.ReadFile(file)
			return bytes.Contains(text, []byte("Benchmark"))
		})
		cancel()
		began := time.Now()
		o := <-ended
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: it took %v to stop", workload, took)
		}
		o.wantLine(t, exitStopped, "stopped")
		if !strings.Contains(o.stdout, "stopped early") {
			t.Errorf("%s: no table in\n%s", workload, o.stdout)
		}
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%s left %q", workload, keys)
		}
	}
}

func TestCtrlCBeforeTheFirstRound(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	lockbench(ctx, nil).wantLine(t, exitStopped)
}

func TestCtrlCAtAHungServerSaysThatKeysAreLeft(t *testing.T) {
	r := redistest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan outcome, 1)
	go func() { ended <- lockbench(ctx, nil, "-url", r.URL(), "-time", "1h") }()
	eventually(t, "there are keys", func() bool { return len(keysOf(t, r)) > 0 })
	r.Pause()
	defer r.Resume()
	cancel()
	select {
	case o := <-ended:
		o.wantLine(t, exitStopped, "could not be removed and go with their ttl")
	case <-time.After(time.Minute):
		t.Fatal("it still runs after a minute")
	}
}

func TestOutputThatCannotBeWrittenIsExitCode1(t *testing.T) {
	lockbench(context.Background(), nil, quick("-out", t.TempDir())...).wantLine(t, exitFailed, "-out")
}
