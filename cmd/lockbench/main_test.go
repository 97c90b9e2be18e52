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

func command(t *testing.T, args ...string) (stdout string, code int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "LOCKBENCH_TEST_MAIN=1", "REDIS_URL=")
	out, _ := cmd.Output()
	return string(out), cmd.ProcessState.ExitCode()
}

func TestCommandMeasuresInSeveralProcesses(t *testing.T) {
	out, code := command(t, "-workload", "contention", "-ways", "fair", "-waiters", "2", "-processes", "2",
		"-time", "50ms", "-count", "1", "-url", "miniredis")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	// The version is in the build information of a package main only.
	for _, text := range []string{"miniredis v", "Jain"} {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in\n%s", text, out)
		}
	}
}

func TestCommandHasAnExitCode(t *testing.T) {
	if out, code := command(t, "-count", "0"); code != 2 || out != "" {
		t.Errorf("a bad flag: exit code %d, stdout %q", code, out)
	}
	if out, code := command(t, "-h"); code != 0 || !strings.HasPrefix(out, "Lockbench measures the locks of redigolock") {
		t.Errorf("-h: exit code %d, stdout %q", code, out)
	}
}

func TestRivalsAreOfTheOtherCommand(t *testing.T) {
	if out, code := command(t, "-approaches", "redsync"); code != 2 || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	if out, _ := command(t, "-h"); strings.Contains(out, "rivals for") {
		t.Errorf("-h lists rivals:\n%s", out)
	}
}
