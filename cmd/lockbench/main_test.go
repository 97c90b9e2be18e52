package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets a test start this binary as lockbench, and lockbench start it as a process of a Contention.
func TestMain(m *testing.M) {
	if os.Getenv("LOCKBENCH_TEST_MAIN") == "1" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestTheCommandHasAnExitCodeAndNoRivals(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		code      int
		has, lack string
	}{
		"-h":                  {0, "Lockbench measures the locks of redigolock", "rivals for"},
		"-count 0":            {2, "", "lockbench"},
		"-approaches redsync": {2, "", "lockbench"},
		// In several processes. The version is in the build information of a package main only.
		"-workload contention -ways fair -waiters 2 -processes 2 -time 50ms -count 1 -url miniredis": {0, "miniredis v", "stopped"},
	} {
		cmd := exec.Command(exe, strings.Fields(args)...)
		cmd.Env = append(os.Environ(), "LOCKBENCH_TEST_MAIN=1", "REDIS_URL=")
		out, _ := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != want.code || !strings.Contains(string(out), want.has) || strings.Contains(string(out), want.lack) {
			t.Errorf("%s: exit code %d, stdout\n%s", args, code, out)
		}
	}
}
