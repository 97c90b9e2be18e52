package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets a test start this binary as lockbench, and lockbench start it as a process of a Contention.
func TestMain(m *testing.M) {
	if os.Getenv("LOCKBENCH_TEST_MAIN") == "1" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "LOCKBENCH_TEST_MAIN=1", "REDIS_URL=")
	return cmd
}

func TestTheCommandHasAnExitCodeAndNoRivals(t *testing.T) {
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
		cmd := command(t, strings.Fields(args)...)
		out, _ := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != want.code || !strings.Contains(string(out), want.has) || strings.Contains(string(out), want.lack) {
			t.Errorf("%s: exit code %d, stdout\n%s", args, code, out)
		}
	}
}

func TestASignalStopsTheCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals")
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := command(t, "-url", "miniredis", "-time", "1h")
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "  plan") {
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, stdout)
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("%v: %v", sig, cmd.ProcessState)
		}
	}
}
