package lockbench

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestRunOnMiniredisSaysThatTheseAreNoRedisFigures(t *testing.T) {
	o := lockbench(context.Background(), nil, quick("-workload", "all")...)
	if o.code != exitDone || o.stderr != "" {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{"miniredis, embedded in this process", "no Redis figures", "locker-setnx",
		"Verbs", "hand-off", "floor-copy"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	if strings.Contains(o.stdout, "allocations") {
		t.Error("it shows allocations, which are the embedded server's too")
	}
}

func TestRunOnARealServerLeavesNoKey(t *testing.T) {
	r := redistest.Start(t)
	o := lockbench(context.Background(), map[string]string{"REDIS_URL": r.URL()}, quick("-url", "env", "-workload", "all")...)
	if o.code != exitDone || o.stderr != "" {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{r.Version() + " at " + r.URL() + " (from REDIS_URL)", "allocations", "reads"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	if strings.Contains(o.stdout, "no Redis figures") {
		t.Error("it denies that these are Redis figures")
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

// It stops, says what it has, and leaves no key.
func TestCtrlCPrintsWhatThereIs(t *testing.T) {
	r := redistest.Start(t)
	for _, workload := range append([]string{"load"}, allWorkloads...) {
		ctx, cancel := context.WithCancel(context.Background())
		file := filepath.Join(t.TempDir(), "out.txt")
		ended := make(chan outcome)
		go func() {
			ended <- lockbench(ctx, nil, "-url", r.URL(), "-workload", workload, "-goroutines", "4", "-waiters", "2",
				"-ways", "polling,fair", "-rates", "500",
				"-time", "20ms", "-count", "100000", "-out", file)
		}()
		eventually(t, workload+" has written a round", func() bool {
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
	var took time.Duration
	for range 5 { // the machine may stall, but not each time
		if took = stopsAtAHungServer(t); took <= 2500*time.Millisecond {
			return
		}
	}
	t.Errorf("it took %v to stop", took)
}

func stopsAtAHungServer(t *testing.T) time.Duration {
	r := redistest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan outcome)
	go func() { ended <- lockbench(ctx, nil, "-url", r.URL(), "-time", "1h") }()
	eventually(t, "there are keys", func() bool { return len(keysOf(t, r)) > 0 })
	r.Pause()
	defer r.Resume()
	cancel()
	began := time.Now()
	o := <-ended
	took := time.Since(began)
	o.wantLine(t, exitStopped, "could not be removed and go with their ttl")
	return took
}

func TestOutputThatCannotBeWrittenIsExitCode1(t *testing.T) {
	lockbench(context.Background(), nil, quick("-out", t.TempDir())...).wantLine(t, exitFailed, "-out")
}
